-- moongate.auth.htpasswd owns files of names and hashes of passwords, as htpasswd makes them, and
-- which hashes can be used. Called by moongate.auth.basic.

local M = {}

local MOST_BYTES = 10 * 1048576
local MOST_COST = 16 -- bcrypt: 2^16 rounds take some four seconds
local MOST_ROUNDS = 1000000 -- SHA-crypt: half a second or more

M.EXPECTED = 'a hash as `htpasswd -B` makes it ("$2y$...": bcrypt; "$apr1$", "$5$", "$6$", "$y$" '
  .. 'and "{SHA}" can be used, too)'

--- Hashes by how they begin: what all of one looks like.
local KINDS = {
  ["$2y$"] = "^%$2y%$(%d%d)%$[%w./]+$", ["$2b$"] = "^%$2b%$(%d%d)%$[%w./]+$",
  ["$2a$"] = "^%$2a%$(%d%d)%$[%w./]+$", ["$apr1$"] = "^%$apr1%$([%w./]*)%$[%w./]+$",
  ["$5$"] = "^%$5%$[^$:]*%$?[^$:]*%$[%w./]+$", ["$6$"] = "^%$6%$[^$:]*%$?[^$:]*%$[%w./]+$",
  ["$y$"] = "^%$y%$[%w./]+%$[%w./]*%$[%w./]+$", ["{SHA}"] = "^{SHA}[%w+/]+=$",
}
local SIZES = { ["$2y$"] = 60, ["$2b$"] = 60, ["$2a$"] = 60, ["{SHA}"] = 33 }

--- What is wrong with a hash.
---@param hash any
---@return string|nil problem
function M.hash_problem(hash)
  if type(hash) ~= "string" then
    return "expected " .. M.EXPECTED
  end
  local kind = hash:match("^%$%w+%$") or hash:match("^{%u+}")
  local found = kind and KINDS[kind] and #hash <= 255 and hash:match(KINDS[kind])
  if not found or SIZES[kind] and #hash ~= SIZES[kind] then
    return "expected " .. M.EXPECTED
  elseif kind:byte(2) == 50 and tonumber(found) > MOST_COST then -- "$2"
    return ("a cost of %s takes too long for each login; at most %d can be used"):format(found,
      MOST_COST)
  end
  local rounds = hash:match("^%$[56]%$rounds=(%d+)%$")
  if rounds and tonumber(rounds) > MOST_ROUNDS then
    return ("%s rounds take too long for each login; at most %d can be used"):format(rounds,
      MOST_ROUNDS)
  end
  return nil
end

local function read_all(path)
  local file, reason = io.open(path, "rb")
  local text
  if file then
    text, reason = file:read(MOST_BYTES + 1)
    file:close()
    text = text or not reason and "" or nil -- an empty file
  end
  if not text then
    return nil, ("%s: %s"):format(path, ((reason or "cannot be read"):gsub("^.-: ", "", 1)))
  elseif #text > MOST_BYTES then
    return nil, ("%s: has more than %d bytes"):format(path, MOST_BYTES)
  end
  return text
end

--- Reads a file.
---@param path string
---@return table<string, string>|nil users name -> hash
---@return string|nil problem begins with FILE: or FILE:LINE:
function M.read(path)
  local text, problem = read_all(path)
  if not text then
    return nil, problem
  end
  local users, number = {}, 0
  for line in text:gmatch("([^\n]*)\n?") do
    number = number + 1
    line = line:match("^(.-)%s*$")
    if line ~= "" and line:byte() ~= 35 then
      local name, hash = line:match("^([^:]+):([^:]*)")
      problem = not name and "expected a name, \":\" and a hash"
        or users[name] and ("'%s' is there twice"):format((name:gsub("%c", "?")))
        or M.hash_problem(hash)
      if problem then
        return nil, ("%s:%d: %s"):format(path, number, problem)
      end
      users[name] = hash
    end
  end
  return users
end

return M
