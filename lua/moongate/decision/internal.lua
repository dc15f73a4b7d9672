-- moongate.decision.internal owns `internal` of backends and decisions: which paths an application
-- may name in X-Accel-Redirect, and the folders where those files lie, or true for paths that
-- on_request decides on. Called by settings and decision.

local describe = require("moongate.base.describe")
local sorted_keys = require("moongate.base.keys").sorted

local M = {}

--- What `internal` is, for messages.
M.EXPECTED = 'a table from prefix to folder such as { ["/protected/"] = "/srv/private" }'

--- A prefix with a slash at its end.
local function whole(prefix)
  return prefix:match("^(.-)/*$") .. "/"
end

--- What is wrong with such a table.
---@param map any
---@return string|nil message nil where it is valid
function M.problem(map)
  if type(map) ~= "table" then
    return ("expected %s, got %s"):format(M.EXPECTED, describe(map))
  end
  local seen = {}
  for _, prefix in ipairs(sorted_keys(map)) do
    local folder = map[prefix]
    if type(prefix) ~= "string" or not prefix:match("^/") or prefix:find("[%c%z]") then
      return ("a prefix begins with \"/\", as in { [\"/protected/\"] = \"/srv/private\" }, "
        .. "got %s"):format(describe(prefix))
    elseif whole(prefix):find("/%.?%.?/") then
      return ("'%s' is no path that a request could have"):format(prefix)
    elseif folder ~= true
      and (type(folder) ~= "string" or not folder:match("^/") or folder:find("[%c%z]")) then
      return ("'%s': expected an absolute path such as \"/srv/private\", or true, got %s"):format(
        prefix, describe(folder))
    elseif seen[whole(prefix)] then
      return ("'%s' is there twice"):format(whole(prefix))
    end
    seen[whole(prefix)] = true
  end
  return nil
end

--- A valid table in the order in which it is looked through.
---@param map table
---@return string[][] list of { prefix, folder }, longest prefix first; "" stands for true
function M.list(map)
  local list = {}
  for _, prefix in ipairs(sorted_keys(map)) do
    local folder = map[prefix]
    if folder == true then
      folder = ""
    else
      folder = folder:match("^(.-)/*$")
      folder = folder == "" and "/" or folder
    end
    list[#list + 1] = { whole(prefix), folder }
  end
  table.sort(list, function(a, b)
    if #a[1] ~= #b[1] then
      return #a[1] > #b[1]
    end
    return a[1] < b[1]
  end)
  return list
end

return M
