-- errors: what a visitor sees when the application fails, and what its log says.
--
--     /                   a page
--     /?status=404        PHP says 404, the visitor sees a page of ours
--     /?seconds=5         PHP takes too long: the same for 504
--     /?deprecated=1      a known message that the log need not have
--     /archive            a backend that is down: the other one answers

local folder = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$")

local page = [[
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>%s</title>
<h1>%s</h1>
<p>If you write to us, please name this number: %s</p>
]]
local texts = { [404] = "There is no such page here" }

local function app(backend)
  return {
    backend = backend,
    root = folder .. "/public",
    script = "/index.php",
    intercept_errors = { 404, 500 },
  }
end
local main, archive = app("main"), app("archive")

return {
  listen = "127.0.0.1:8080",
  backends = {
    main = {
      servers = os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock",
      read_timeout = "2s",
    },
    archive = "unix:/run/php/archive.sock",
  },

  on_request = function(req)
    return req.path:find("^/archive") and archive or main
  end,

  on_error = function(req, err)
    if err.kind == "connect" and err.backend == "archive" then
      return main -- no server was reached, so nothing can be done twice
    end
    local text = texts[err.status] or "This does not work at the moment"
    return {
      status = err.status,
      headers = { ["Content-Type"] = "text/html; charset=utf-8" },
      body = page:format(text, text, req.id),
    }
  end,

  on_stderr = function(_, messages)
    return #messages == 1 and messages[1].level == "deprecated"
  end,
}
