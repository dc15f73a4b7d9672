-- moongate.decision.headers owns tables of headers, as decisions have them: two as one, and what of
-- them holds for an answer without the content that they are meant for. Called by decision, php and
-- headers.

local copy_of = require("moongate.base.copy")

local M = {}

-- Headers about a content or how long it may be kept: they do not hold for a page that says that
-- there is none. core/http/request.c has the same list for its own pages.
local OF_CONTENT = {}
for name in ([[content-type content-encoding content-language content-disposition content-location
  content-range content-md5 content-digest repr-digest digest cache-control expires pragma age etag
  last-modified accept-ranges location set-cookie]]):gmatch("%S+") do
  OF_CONTENT[name] = true
end

--- Two tables of headers as one; the second counts where both have a name.
---@param first table|nil
---@param second table|nil
---@return table|nil headers nil where both are empty
function M.merged(first, second)
  if not first or not second then
    return first or second
  end
  local merged, names = {}, {}
  for name, value in pairs(second) do
    merged[name], names[name:lower()] = value, true
  end
  for name, value in pairs(first) do
    if not names[name:lower()] then
      merged[name] = value
    end
  end
  return merged
end

--- A copy of a decision with more headers; its own count where both have a name.
---@param d table
---@param key "headers"|"always" which of its tables gets them
---@param extra table<string, any>
---@return table
function M.copy_with(d, key, extra)
  local copy = copy_of.table(d)
  copy[key] = M.merged(extra, d[key])
  return copy
end

--- A decision whose `always` has these headers, but for those of a name that it has itself.
---@param d table
---@param extra table<string, any>|fun(req: table): table|nil
---@param req table
---@return table
function M.always(d, extra, req)
  if type(extra) == "function" then
    extra = extra(req)
  end
  if not extra or d.close then
    return d
  end
  return M.copy_with(d, "always", extra)
end

--- Those of some headers that hold for an answer without the content that they are meant for.
---@param headers table|nil
---@return table|nil
function M.standing(headers)
  local standing = {}
  for name, value in pairs(headers or {}) do
    if not OF_CONTENT[tostring(name):lower()] then
      standing[name] = value
    end
  end
  return next(standing) and standing or nil
end

return M
