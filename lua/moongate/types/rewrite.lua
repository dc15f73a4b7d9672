-- moongate.types.rewrite: what an editor is told of `require "moongate.rewrite"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
local rewrite = {}

--- The request as it goes on with another path and query; all else stays as it came.
---@param req moongate.Request
---@param path string decoded
---@param query? string nil: none
---@return moongate.Request
function rewrite.to(req, path, query) end

--- A decoded path as it stands in a URL.
---@param path string
---@return string
function rewrite.escape(path) end

--- Is there a regular file at a path below a folder?
---@param root string
---@param path string
---@return boolean
function rewrite.is_file(root, path) end

--- Is there a folder?
---@param root string
---@param path string
---@return boolean
function rewrite.is_folder(root, path) end

return rewrite
]==]
