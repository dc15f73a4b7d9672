-- h2o. Its list of hosts is searched from the front, so it has one host with one folder, except
-- where the number of tenants is what is measured.

local process = require("tests.support.process")

local CONF = [[
num-threads: %(workers)
max-connections: 20000
pid-file: %(dir)/pid
error-log: %(dir)/error.log
http1-request-timeout: 600
listen:
  host: %(host)
  port: %(port)
%(user)
hosts:
%(hosts)
]]

local HOST = [[
  "%(name)":
    paths:
      "/":
        file.dir: %(docroot)
        file.custom-handler:
          extension: .php
          fastcgi.document_root: %(docroot)
          fastcgi.connect:
            port: %(socket)
            type: unix
          %(kept)
]]

return { {
  name = "h2o",
  title = "h2o",
  path = "usr/bin/h2o",
  version = "--version",
  cannot = function(case)
    if case.front then
      return "tries no second file"
    elseif case.reload then
      return "reloads only below another program, start_server"
    elseif (case.tenants or 0) > 1000 then
      return "searches its list of hosts from the front"
    end
  end,
  command = function(values, fill, program)
    local hosts = {}
    for i = 1, values.case_tenants or 1 do
      hosts[i] = fill(HOST, setmetatable({
        name = values.case_tenants and ("t%05d.example"):format(i) or "*",
        docroot = values.docroots[i],
        kept = values.keepalive > 0 and "fastcgi.timeout.keepalive: 600000" or "",
      }, { __index = values }))
    end
    process.write_file(values.dir .. "/conf", fill(CONF, setmetatable({
      host = values.address:match("^(.*):"), port = values.address:match("%d+$"),
      user = process.is_root() and "user: root" or "",
      hosts = table.concat(hosts),
    }, { __index = values })))
    return { program, "-c", values.dir .. "/conf" }
  end,
} }
