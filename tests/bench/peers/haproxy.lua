-- HAProxy, with the tenants in a map. It serves no files.

local process = require("tests.support.process")

local CONF = [[
global
  maxconn 12000
  no strict-limits
  nbthread %(workers)
defaults
  mode http
  timeout connect 10s
  timeout client 600s
  timeout server 600s
  timeout queue 600s
  timeout http-request 600s
  timeout http-keep-alive 600s
  http-reuse always
fcgi-app app
  docroot %(first)
  index index.php
  set-param DOCUMENT_ROOT %[var(txn.docroot)]
  set-param SCRIPT_FILENAME %[var(txn.docroot)]%[path]
  %(keepconn)
frontend web
  bind %(address) backlog 4096
  http-request set-var(txn.docroot) req.hdr(host),lower,map_str(%(dir)/tenants.map)
  default_backend application
backend application
  use-fcgi-app app
  server app unix@%(socket) proto fcgi %(kept)
]]

return { {
  name = "haproxy",
  title = "HAProxy",
  path = "usr/sbin/haproxy",
  version = "-v",
  reload = "USR2",
  cannot = function(case)
    return case.route == "site" and "serves no files"
  end,
  command = function(values, fill, program)
    local map = {}
    for i, docroot in ipairs(values.docroots) do
      map[i] = ("t%05d.example %s\n"):format(i, docroot)
    end
    process.write_file(values.dir .. "/tenants.map", table.concat(map))
    process.write_file(values.dir .. "/conf", fill(CONF, setmetatable({
      first = values.docroots[1],
      keepconn = values.keepalive == 0 and "no option keep-conn" or "option keep-conn",
      kept = values.children and "maxconn " .. values.children
        or values.keepalive > 0 and "pool-max-conn " .. values.keepalive or "",
    }, { __index = values })))
    return { program, values.reloads and "-W" or "-db", "-f", values.dir .. "/conf" }
  end,
} }
