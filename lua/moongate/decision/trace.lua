-- moongate.decision.trace owns the question "which rule of the route decided?". Routers and sites
-- tell it: each request keeps the numbers of its rules for a message that comes later, and explain
-- listens while it calls a hook. One for all, since routers and sites nest.

local has_core, core = pcall(require, "moongate.core")

local M = {}

-- The rules by number. A rule that a script makes for one request goes with its router.
local rules, count = setmetatable({}, { __mode = "v" }), 0

-- Without the core: the requests' rules are kept here.
local kept = setmetatable({}, { __mode = "k" })

local note = has_core and rawget(core, "note_rule") or function(req, number)
  local list = kept[req] or {}
  kept[req] = list
  list[#list + 1] = number
end

---@class moongate.Rule
---@field text string what it matches
---@field source string file:line where the route says it

--- Told about each rule whose handler decides, inner ones first; nil while no caller wants to know.
---@type nil|fun(rule: moongate.Rule)
M.rule = nil

--- Told in words what a site found on its way; nil while no caller wants to know.
---@type nil|fun(text: string)
M.step = nil

--- Makes a rule one that requests can remember.
---@generic T: moongate.Rule
---@param rule T `number` is set, and `label` where the rule has no metatable that makes it
---@return T rule
function M.known(rule)
  count = count + 1
  rules[count] = rule
  rule.number = count
  if not getmetatable(rule) then
    rule.label = M.label(rule)
  end
  return rule
end

--- What the log calls a rule.
---@param rule moongate.Rule
---@return string
function M.label(rule)
  return rule.source .. " " .. rule.text
end

--- A rule's handler begins: should it not come to its end, the log names the rule. The argument is
--- the rule's label; a call of C, no allocation.
---@type fun(label: string)
M.enter = has_core and rawget(core, "enter_rule") or function() end

--- A rule has decided about a request. On the path of every request: a call of C, no allocation.
---@param req table
---@param rule moongate.Rule a known one
function M.decided(req, rule)
  note(req, rule.number)
  if M.rule then
    M.rule(rule)
  end
end

--- The rules with these numbers in words.
---@param ... integer inner ones first, as they have decided
---@return string|nil text "FILE:LINE path '/shop/*'", outer rules first, joined by " > "; nil where
--- there are none
function M.words(...)
  local words = {}
  for i = select("#", ...), 1, -1 do
    local rule = rules[select(i, ...)]
    words[#words + 1] = rule and rule.label
  end
  return #words > 0 and table.concat(words, " > ") or nil
end

--- Rules as `moongate explain` shows them.
---@param list moongate.Rule[] outer ones first
---@return string text "path '/shop/*' (FILE:LINE)", joined by " > "
function M.shown(list)
  local parts = {}
  for i, rule in ipairs(list) do
    parts[i] = ("%s (%s)"):format(rule.text, rule.source)
  end
  return table.concat(parts, " > ")
end

--- The same of the rules with these numbers.
---@param ... integer inner ones first
---@return string|nil text nil where there are none
function M.explained(...)
  local list = {}
  for i = select("#", ...), 1, -1 do
    list[#list + 1] = rules[select(i, ...)]
  end
  return #list > 0 and M.shown(list) or nil
end

--- Which rules have decided about a request so far, in words.
---@param req table
---@return string|nil text see M.words
function M.of(req)
  if has_core and rawget(core, "noted_rules") then
    return M.words(core.noted_rules(req))
  end
  return M.words(unpack(kept[req] or {}))
end

--- A request begins anew.
---@param req table
function M.forget(req)
  if has_core and rawget(core, "forget_rules") then
    core.forget_rules(req)
  end
  kept[req] = nil
end

-- source -> line -> text: a loop of a route makes thousands of rules at one place.
local places = {}

--- Where a function's caller stands in the route.
---@param level integer as in debug.getinfo, seen from the caller
---@return string file:line
function M.place(level)
  local info = debug.getinfo(level + 1, "Sl")
  if not info then
    return "?"
  end
  local source, line = info.source, info.currentline
  local lines = places[source] or {}
  if not lines[line] then
    lines[line] = ("%s:%d"):format(source:gsub("^@", ""), line)
    places[source] = #source < 512 and lines or nil
  end
  return lines[line]
end

--- Calls a function and lists the rules that decided in it, outer ones first.
---@param fn function
---@param ... any its arguments
---@return moongate.Rule[] rules
---@return boolean ok
---@return any ... what it returned (up to four values), or the error
function M.rules_of(fn, ...)
  local outer, found = M.rule, {}
  M.rule = function(rule)
    table.insert(found, 1, rule)
  end
  local ok, a, b, c, d = pcall(fn, ...)
  M.rule = outer
  return found, ok, a, b, c, d
end

return M
