-- moongate.proxypass.reverse owns what Apache's ProxyPassReverse, ProxyPassReverseCookieDomain and
-- ProxyPassReverseCookiePath do to the head of an answer: addresses that only the backend knows
-- become those that clients see. Called by moongate.proxypass; values are plain texts.

local M = {}

--- The headers that name an address.
M.LOCATIONS = { "Location", "Content-Location", "URI", "Destination" }

--- Does a text begin with another one, whatever the case of its letters?
local function begins(text, with)
  return #text >= #with and text:sub(1, #with):lower() == with:lower()
end

--- What follows the scheme and host of a URL, where the URL has them.
local function path_of(url)
  local from = url:find("://", 1, true)
  local slash = from and url:find("/", from + 3, true)
  return slash and url:sub(slash) or url
end

---@class moongate.proxypass.Mapping
---@field path string as clients see it: a path, or a URL
---@field real string as the backend says it: a URL, or a path that holds whatever the host is
---@field reals string[]|nil in place of it: a balancer's, one for each member

--- The address that clients know.
---@param url string as the application said it
---@param mappings moongate.proxypass.Mapping[] the first that fits counts
---@param origin string|nil "https://host" of the request
---@return string url the same where none fits
function M.location(url, mappings, origin)
  for i = 1, #mappings do
    local mapping = mappings[i]
    for _, real in ipairs(mapping.reals or { mapping.real }) do
      local part = real:sub(1, 1) == "/" and path_of(url) or url
      if begins(part, real) then
        local rest, path = part:sub(#real + 1), mapping.path
        if path == "/" and rest:sub(1, 1) == "/" and mapping.reals then
          path = ""
        end
        local seen = path .. rest
        return (seen:find("^%a[%w+.-]*://") or not origin) and seen or origin .. seen
      end
    end
  end
  return url
end

--- A Set-Cookie header as clients need it. A value that begins with what the backend says is
--- replaced as a whole.
---@param cookie string
---@param domains { [1]: string, [2]: string }[] as the backend says it, as clients see it
---@param paths { [1]: string, [2]: string }[]
---@return string
function M.cookie(cookie, domains, paths)
  local parts = {}
  for part in (cookie .. ";"):gmatch("([^;]*);") do
    local lead, name, value = part:match("^(%s*)([^=]*)=(.*)$")
    local list = name and #parts > 0 -- the first is the cookie itself
      and (name:lower() == "path" and paths or name:lower() == "domain" and domains) or {}
    for _, pair in ipairs(list) do
      local fits = list == paths and value:sub(1, #pair[1]) == pair[1]
        or list == domains and begins(value, pair[1])
      if fits then
        part = lead .. name .. "=" .. pair[2]
        break
      end
    end
    parts[#parts + 1] = part
  end
  return table.concat(parts, ";")
end

return M
