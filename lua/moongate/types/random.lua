-- moongate.types.random: what an editor is told of `require "moongate.random"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
local random = {}

--- So many bytes from the kernel.
---@param count integer
---@return string
function random.bytes(count) end

--- So many bytes as hexadecimal digits.
---@param count integer
---@return string
function random.hex(count) end

--- A text for URLs and cookies that stands for so many bytes, default 16.
---@param count? integer
---@return string
function random.token(count) end

--- A whole number, each as likely as the others.
---@param low integer
---@param high integer
---@return integer
function random.integer(low, high) end

return random
]==]
