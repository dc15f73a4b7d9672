-- As much of a browser as an application needs in a scenario: cookies, redirects, forms, one kept
-- connection. Stands on http.lua, so everything it sees is strictly checked.

local http = require("tests.support.http")

local browser = {}

---@class Browser
---@field cookies table<string, string>
---@field url string path and query of the page shown last, after redirects
local Browser = {}
Browser.__index = Browser

local REDIRECTS = 5

---@param address string of the server
---@param host? string name it is called by, "localhost" by default
---@return Browser
function browser.open(address, host)
  return setmetatable({ address = address, host = host or "localhost", cookies = {} }, Browser)
end

function Browser:cookie_header()
  local names, out = {}, {}
  for name in pairs(self.cookies) do
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    out[i] = name .. "=" .. self.cookies[name]
  end
  return #out > 0 and table.concat(out, "; ") or nil
end

function Browser:keep_cookies(res)
  for _, line in ipairs(res:all("Set-Cookie")) do
    local name, value = line:match("^([^=;]+)=([^;]*)")
    local gone = value == "" or value == "deleted" or line:lower():find("max%-age=0")
    self.cookies[name] = not gone and value or nil
  end
end

-- One request without following anything. A kept connection that the server has closed meanwhile is
-- replaced, as browsers do.
function Browser:exchange(request)
  if self.client then
    self.client.conn:silent(0)
    if self.client.conn.ended then
      self.client:close()
      self.client = nil
    end
  end
  self.client = self.client or http.open(self.address, { timeout = 30 })
  request.host = self.host
  request.headers = request.headers or {}
  request.headers.Cookie = self:cookie_header()
  local res = self.client:request(request)
  if (res.headers["connection"] or ""):lower() == "close" then
    self.client:close()
    self.client = nil
  end
  self:keep_cookies(res)
  return res
end

-- Where a Location leads, as a path with its query. Another host is not followed.
local function resolve(base, location)
  local path = location:gsub("^http://[^/]+", ""):gsub("#.*$", "")
  if path:sub(1, 1) == "/" then
    return path
  end
  local folder = base:gsub("%?.*$", ""):match("^.*/")
  return folder .. path
end

--- A request and the page that it leads to in the end.
---@param request HttpRequest
---@return HttpResponse last; its `redirects` says how many came before it
function Browser:request(request)
  local path = request.path
  for count = 0, REDIRECTS do
    request.path = path
    local res = self:exchange(request)
    self.url = path
    if not (res.status >= 301 and res.status <= 303) or not res.headers["location"] then
      res.redirects = count
      return res
    end
    path = resolve(path, res.headers["location"])
    request = { headers = {} }
  end
  error("more than " .. REDIRECTS .. " redirects, the last to " .. path, 2)
end

---@param path string
---@param headers? table
---@return HttpResponse
function Browser:get(path, headers)
  return self:request({ path = path, headers = headers })
end

--- Sends a form as application/x-www-form-urlencoded.
---@param path string
---@param fields table<string, string>
---@return HttpResponse
function Browser:post(path, fields)
  return self:request({
    method = "POST", path = path, body = http.form(fields),
    headers = { ["Content-Type"] = "application/x-www-form-urlencoded" },
  })
end

--- Sends a form as multipart/form-data.
---@param path string
---@param parts FormPart[]
---@return HttpResponse
function Browser:upload(path, parts)
  local body, kind = http.multipart(parts)
  return self:request({
    method = "POST", path = path, body = body, headers = { ["Content-Type"] = kind },
  })
end

function Browser:close()
  if self.client then
    self.client:close()
    self.client = nil
  end
end

local ENTITIES = { amp = "&", lt = "<", gt = ">", quot = "\"", ["#039"] = "'", ["#39"] = "'" }

--- Text of HTML with its entities resolved (those that escaping makes).
---@param text string
---@return string
function browser.unescape(text)
  return (text:gsub("&(#?%w+);", ENTITIES))
end

--- The fields of a form as a browser would send them untouched: inputs and text areas.
---@param html string
---@param mark string plain text in the form's opening tag, such as `id="dw__editform"`
---@return table<string, string> fields
function browser.form(html, mark)
  local at = 1
  while true do
    local first, last, tag = html:find("(<form[^>]*>)", at)
    if not first then
      error("no form with " .. mark, 2)
    end
    if tag:find(mark, 1, true) then
      html = html:sub(first, html:find("</form>", last, true))
      break
    end
    at = last
  end
  local fields = {}
  for tag in html:gmatch("<input[^>]*>") do
    local name, kind = tag:match("name=\"([^\"]*)\""), tag:match("type=\"([^\"]*)\"")
    local box = kind == "checkbox" or kind == "radio"
    local chosen = not box or tag:find("checked", 1, true)
    if name and chosen and kind ~= "submit" and kind ~= "file" then
      fields[name] = browser.unescape(tag:match("value=\"([^\"]*)\"") or (box and "on" or ""))
    end
  end
  for attributes, text in html:gmatch("<textarea([^>]*)>(.-)</textarea>") do
    local name = attributes:match("name=\"([^\"]*)\"")
    if name then
      fields[name] = browser.unescape((text:gsub("^\r?\n", "")))
    end
  end
  return fields
end

return browser
