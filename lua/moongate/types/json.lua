-- moongate.types.json: what an editor is told of `require "moongate.json"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
--- JSON by lua-cjson.
---@class moongate.Json
---@field null userdata what null is in Lua

local json = {}

--- A value as JSON, or nil and the reason.
---@param value any
---@return string?, string?
function json.encode(value) end

--- A value from JSON, or nil and the reason.
---@param text string
---@return any, string?
function json.decode(text) end

return json
]==]
