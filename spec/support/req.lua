-- support.req owns requests made of tables, with the fields that hooks read. Called by specs.

local M = {}

--- A GET request for a URL path.
---@param target string decoded path, with a query if wanted
---@param fields table|nil further fields
---@return table req
function M.get(target, fields)
  local path, query = target:match("^([^?]*)%??(.*)$")
  local req = {
    method = "GET", path = path, raw_path = path, uri = target, query = query,
    host = "example.test", headers = {}, ctx = {},
  }
  for key, value in pairs(fields or {}) do
    req[key] = value
  end
  return req
end

return M
