-- moongate.rewrite owns what a request is once the route has given it another path or query, and
-- tests
-- for files on the way there. Called by routes, among them those that `moongate import` writes.

local describe = require("moongate.base.describe")
local filesystem = require("moongate.base.fs")
local suggest = require("moongate.base.suggest")
local url = require("moongate.base.url")

local M = {}

-- How often a request has been rewritten, as web servers count it.
local MOST = 10
local depths = setmetatable({}, { __mode = "k" })

local function expect_path(name, path)
  if type(path) ~= "string" or path:byte() ~= 47 or path:find("%z") then
    error(("rewrite.%s: expected a path such as \"/index.php\", got %s"):format(name,
      describe(path)), 3)
  end
end

-- "." and ".." in a path that was put together of what a client has said lead nowhere else.
local function plain(path)
  path = path:gsub("//+", "/")
  if not path:find("/.", 1, true) then
    return path
  end
  local parts = {}
  for part in path:gmatch("[^/]+") do
    if part == ".." then
      parts[#parts] = nil
    elseif part ~= "." then
      parts[#parts + 1] = part
    end
  end
  local folder = path:find("/$") or path:find("/%.%.?$")
  return "/" .. table.concat(parts, "/") .. (folder and #parts > 0 and "/" or "")
end

--- The request as it goes on with another path and query: what reads it, such as a site, finds
--- these, and
--- all else as it came. `uri` and REQUEST_URI stay.
---@param req table
---@param path string decoded
---@param query string|nil nil: none
---@return table req
function M.to(req, path, query)
  expect_path("to", path)
  path = plain(path)
  local depth = (depths[req] or 0) + 1
  if depth > MOST then
    error(("rewrite.to: the request was rewritten more than %d times, at last to %s"):format(MOST,
      path), 2)
  end
  local view = setmetatable({}, {
    __index = function(_, key)
      if key == "path" then
        return path
      elseif key == "query" then
        return query
      end
      return req[key]
    end,
  })
  depths[view] = depth
  return view
end

--- A decoded path as it stands in a URL, such as that of a redirect.
---@param path string
---@return string
function M.escape(path)
  return url.escape_path(path)
end

--- Is there a regular file at a path below a folder? Symlinks are followed, but not out of the
--- folder.
---@param root string
---@param path string
---@return boolean
function M.is_file(root, path)
  expect_path("is_file", path)
  return (filesystem.probe(root, plain(path))) == "file"
end

--- Is there a folder?
---@param root string
---@param path string
---@return boolean
function M.is_folder(root, path)
  expect_path("is_folder", path)
  return (filesystem.probe(root, plain(path))) == "directory"
end

return suggest.strict(M, "moongate.rewrite")
