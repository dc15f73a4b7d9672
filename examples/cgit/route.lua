-- cgit: git repositories in a browser, and git itself over HTTP: two CGI programs behind fcgiwrap.
--
--     apt-get install cgit fcgiwrap git
--     GIT_ROOT=/srv/git moongate run route.lua
--     git clone http://127.0.0.1:8080/git/project.git
--
-- A repository takes what is pushed where it says so: git config http.receivepack true. Who may
-- push is then up to the route; this one lets nobody else than the local machine.

local router = require("moongate.router")

local root = os.getenv("GIT_ROOT") or "/srv/git"
local config = os.getenv("CGIT_CONFIG") or "/etc/cgitrc"
local cgit = os.getenv("CGIT") or "/usr/lib/cgit/cgit.cgi"
local backend = "/usr/lib/git-core/git-http-backend"

local route = router.new {}

route:path("/cgit/*", {
  backend = "cgi", strip = "/cgit", script_filename = cgit,
  params = { CGIT_CONFIG = config },
})

route:path("/git/*", function(req)
  local pushes = req.path:find("/git%-receive%-pack$") or req.args.service == "git-receive-pack"
  if pushes and req.ip ~= "127.0.0.1" then
    return { status = 403, body = "Pushing is for the local machine.\n" }
  end
  return {
    backend = "cgi", strip = "/git", script_filename = backend,
    params = { GIT_PROJECT_ROOT = root, GIT_HTTP_EXPORT_ALL = "1" },
  }
end)

route:path("/", { redirect = "/cgit/" })

return {
  listen = "127.0.0.1:8080",
  limits = { body = "1g" },
  backends = {
    cgi = { servers = { os.getenv("CGI") or "unix:/run/fcgiwrap.socket" }, profile = "generic" },
  },
  on_request = route,
}
