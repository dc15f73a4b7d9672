-- moongate.worker.dashboard owns the page that a browser gets from the control listener. It is one
-- file, worker/dashboard.html, with its script and its style, which the build puts into
-- moongate.core.dashboard: a page that asks the other paths of this listener for what it shows.
-- Called by worker/control.
--
-- The page has nothing of the instance in itself, so it needs no token; the script asks for one.

local M = {}

--- What a policy calls the one element of this tag.
local function digest(html, tag)
  local hash = require("moongate.hash")
  local text = html:match("<" .. tag .. ">(.-)</" .. tag .. ">")
  return ("'sha256-%s'"):format(hash.sha256(text, "base64"))
end

-- Nothing but the page's own script and style runs in it, and it sends nothing to anywhere else.
local function policy(html)
  return table.concat({
    "default-src 'none'", "script-src " .. digest(html, "script"),
    "style-src " .. digest(html, "style"), "connect-src 'self'", "img-src data:",
    "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
  }, "; ")
end

local csp

--- Whether a request comes from a browser that wants a page.
---@param req table as in on_request
---@return boolean
function M.is_asked_for(req)
  return req.path == "/" and (req.method == "GET" or req.method == "HEAD")
    and (req.headers.Accept or ""):find("text/html", 1, true) ~= nil
end

--- The page.
---@param pages string[] the paths that GET reads
---@param has_token boolean requests for those must bring one
---@return table decision a reply
function M.page(pages, has_token)
  local html = require("moongate.core.dashboard")
  csp = csp or policy(html)
  local values = { token = has_token and "1" or "", pages = table.concat(pages, " ") }
  return {
    status = 200, body = (html:gsub("{{(%l+)}}", values)),
    headers = {
      ["Content-Type"] = "text/html; charset=utf-8", ["Cache-Control"] = "no-store",
      ["Content-Security-Policy"] = csp, ["X-Content-Type-Options"] = "nosniff",
      ["X-Frame-Options"] = "DENY", ["Referrer-Policy"] = "no-referrer",
      ["Cross-Origin-Opener-Policy"] = "same-origin",
      ["Cross-Origin-Resource-Policy"] = "same-origin",
    },
  }
end

return M
