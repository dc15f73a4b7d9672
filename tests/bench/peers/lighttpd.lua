-- lighttpd. It has no table of tenants: the folder is made of the host's name by a rule. It opens a
-- connection to the application for each request.

local process = require("tests.support.process")

local CONF = [[
server.modules = ( "mod_evhost", "mod_rewrite", "mod_fastcgi", "mod_staticfile" )
server.document-root = "%(first)"
server.bind = "%(host)"
server.port = %(port)
server.pid-file = "%(dir)/pid"
server.errorlog = "%(dir)/error.log"
server.upload-dirs = ( "%(dir)" )
server.max-fds = 32768
server.max-connections = 16384
server.max-keep-alive-requests = 65535
server.max-keep-alive-idle = 600
server.max-read-idle = 600
server.max-worker = %(processes)
server.listen-backlog = 4096
mimetype.assign = ( ".css" => "text/css" )
static-file.exclude-extensions = ( ".php" )
index-file.names = ( "index.php" )
%(evhost)
%(rewrite)
fastcgi.server = ( ".php" => (( "socket" => "%(socket)" )) )
]]

return { {
  name = "lighttpd",
  title = "lighttpd",
  path = "usr/sbin/lighttpd",
  version = "-v",
  reload = "USR1",
  cannot = function(case)
    return case.tenants and "has a rule, and no table"
      or case.kept and "keeps no connection to the application"
      or case.crowd and "takes half as many clients as it may open files"
  end,
  command = function(values, fill, program)
    process.write_file(values.dir .. "/conf", fill(CONF, setmetatable({
      host = values.address:match("^(.*):"), port = values.address:match("%d+$"),
      first = values.docroots[1],
      processes = values.workers > 1 and values.workers or 0,
      evhost = values.root and ""
        or ('evhost.path-pattern = "%s/%%2/"'):format(values.sites),
      rewrite = values.route == "site"
        and [[url.rewrite-if-not-file = ( "^[^?]*(\?.*)?$" => "/index.php$1" )]] or "",
    }, { __index = values })))
    return { program, "-D", "-f", values.dir .. "/conf", "-m", values.deps .. "/usr/lib/lighttpd" }
  end,
} }
