-- moongate.base.suggest owns "did you mean": the nearest known word to a misspelt one.
-- Called by everything that rejects a name: settings, decision, router, php, init, cli.

local describe = require("moongate.base.describe")

local M = {}

-- A longer word is no slip of the pen, and comparing it costs its length times that of each word.
local LONGEST = 100
local SHOWN = 60 -- bytes of a name in a message

--- A name as it was given, for a message. What a script uses as a key may be megabytes long, or an
--- object whose __tostring does anything: nothing of it is called here.
---@param name any
---@return string text one line of at most 60 bytes, or "a table"
function M.name(name)
  local kind = type(name)
  if kind == "string" then
    return ((#name > SHOWN and name:sub(1, SHOWN - 3) .. "..." or name):gsub("%c", "?"))
  elseif kind == "number" or kind == "boolean" then
    return tostring(name)
  end
  return "a " .. kind
end

--- Levenshtein distance between two words, where two letters in each other's place count once.
---@param a string
---@param b string
---@return integer edits insertions, deletions, replacements and swaps that turn a into b
function M.distance(a, b)
  local rows = { [0] = {} }
  for j = 0, #b do
    rows[0][j] = j
  end
  for i = 1, #a do
    local row, above = { [0] = i }, rows[i - 1]
    for j = 1, #b do
      local cost = a:byte(i) == b:byte(j) and 0 or 1
      row[j] = math.min(above[j] + 1, row[j - 1] + 1, above[j - 1] + cost)
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        row[j] = math.min(row[j], rows[i - 2][j - 2] + 1)
      end
    end
    rows[i] = row
  end
  return rows[#a][#b]
end

--- The known word that was probably meant.
---@param word any
---@param known table<string, any>|string[] a set (the keys count) or a list
---@return string|nil # nil where nothing is near enough to be helpful
function M.nearest(word, known)
  local best, best_distance
  if type(word) ~= "string" or #word > LONGEST then
    return nil
  end
  -- A third of the word may be wrong; beyond that a suggestion is a guess.
  local limit = math.max(1, math.floor(#word / 3))
  for key, value in pairs(known) do
    local candidate = type(key) == "string" and key or value
    if type(candidate) == "string" and math.abs(#candidate - #word) <= limit then
      local distance = M.distance(word:lower(), candidate:lower())
      -- Equal distances: the alphabet decides, so that a message never depends on hash order.
      local better = not best or distance < best_distance
        or (distance == best_distance and candidate < best)
      if distance <= limit and better then
        best, best_distance = candidate, distance
      end
    end
  end
  return best
end

--- The tail of a message about an unknown name.
---@param word any
---@param known table<string, any>|string[]
---@return string text "; did you mean 'x'?" or ""
function M.hint(word, known)
  local nearest = M.nearest(word, known)
  return nearest and ("; did you mean '%s'?"):format(nearest) or ""
end

--- What is wrong with a table of options as a whole.
---@param options any
---@param known table<string, any> its keys are those that options may have
---@return string|nil problem it is no table, or has a key that is unknown
function M.options_problem(options, known)
  if type(options) ~= "table" then
    return "expected a table of options, got " .. describe(options)
  end
  for key in pairs(options) do
    if not known[key] then
      return ("unknown key '%s'%s"):format(M.name(key), M.hint(key, known))
    end
  end
  return nil
end

--- Makes a wrong name in a library module an error that says so, instead of a nil that is called.
---@param module table
---@param name string as it is required
---@return table module
function M.strict(module, name)
  return setmetatable(module, {
    __index = function(_, key)
      error(("%s: there is no '%s'%s"):format(name, M.name(key), M.hint(key, module)),
        2)
    end,
  })
end

return M
