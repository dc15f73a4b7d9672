-- prefix: one application has everything below a prefix, under two of them.
--
--     curl http://127.0.0.1:8080/myapp/any/page     the application; its connections are kept
--     curl http://127.0.0.1:8080/shy/any/page       the same one, with a new connection each time
--
-- Apache says `ProxyPass /myapp/ fcgi://localhost:4000/` for it, and `disablereuse=on`.

local router = require("moongate.router")

local address = os.getenv("MOONGATE_APP") or "127.0.0.1:4000"

--- Everything below a prefix for one backend: SCRIPT_NAME is the prefix, PATH_INFO what follows.
local function application(prefix, backend)
  return function(req)
    return { backend = backend, script = prefix, path_info = req.path:sub(#prefix + 1) }
  end
end

local r = router.new {} -- what no rule has is 404
r:path("/myapp/*", application("/myapp", "app"))
r:path("/shy/*", application("/shy", "shy"))

return {
  listen = "127.0.0.1:8080",
  backends = {
    -- `generic`: an application by the book (RFC 3875), which is no PHP.
    app = { servers = { address }, profile = "generic", keepalive = 4 },
    -- One that serves few connections at a time must not have them occupied by nothing to do.
    shy = { servers = { address }, profile = "generic", keepalive = 0 },
  },
  on_request = r,
}
