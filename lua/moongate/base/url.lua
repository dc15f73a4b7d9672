-- moongate.base.url owns percent-encoding. Called by php for redirects and by init for scripts.

local describe = require("moongate.base.describe")

local M = {}

--- Numbers are as good as texts.
local function check(text, name)
  local kind = type(text)
  if kind ~= "string" and kind ~= "number" then
    error(("%s: expected a text, got %s"):format(name, describe(text)), 3)
  end
  return kind == "string" and text or tostring(text)
end

--- Encoded bytes, made once: one string for each byte.
local ENCODED = {}
for code = 0, 255 do
  ENCODED[string.char(code)] = ("%%%02X"):format(code)
end

--- Encodes a text so that it can stand anywhere in a URL, as one path segment or query value.
---@param text string
---@return string
function M.escape(text)
  return (check(text, "escape"):gsub("[^%w%-._~]", ENCODED))
end

--- Encodes a decoded path for a URL: slashes and what else may stand in a path are kept.
---@param path string
---@return string
function M.escape_path(path)
  return (path:gsub("[^%w%-._~!$&'()*+,;=:@/]", ENCODED))
end

--- Decodes `%XX`. A `%` without two hex digits stays, as does `+`.
---@param text string
---@return string
function M.unescape(text)
  return (check(text, "unescape"):gsub("%%(%x%x)", function(digits)
    return string.char(tonumber(digits, 16))
  end))
end

return M
