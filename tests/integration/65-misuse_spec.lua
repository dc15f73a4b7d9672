-- Misuse of everything that a script is given: each is told in one sentence, with file and line,
-- what it has given and what is expected. What a route says wrong before it serves is in
-- spec/moongate/route/settings_spec.lua, spec/moongate/php_spec.lua and
-- spec/moongate/router_spec.lua.

local http = require("tests.support.http")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

-- By the hook that does it: the misuse, and how the message begins. Each stands in a line of its
-- own in the route, in a function of (req, params, res, servers, log, err, messages).
local MISUSES = {
  on_request = {
    { [[local _ = req.pth]], 'req has no field "pth"; it has: method uri' },
    { [=[local _ = req[1]]=], "req has no field 1; it has: method uri" },
    { [=[local _ = req[nil]]=], "req has no field nothing; it has: method uri" },
    { [=[local _ = req[{}]]=], "req has no field a table; it has: method uri" },
    { [[req.path = '/']],
      "req.path can't be assigned: req is read-only; what a script keeps goes into "
      .. 'fields of req.ctx, as in req.ctx.user = "ann"' },
    { [[req[1] = 2]],
      "req[1] can't be assigned: req is read-only; what a script keeps goes into "
      .. 'fields of req.ctx, as in req.ctx.user = "ann"' },
    { [[req.ctx = {}]],
      "req.ctx can't be assigned: req is read-only; what a script keeps goes into "
      .. 'fields of req.ctx, as in req.ctx.user = "ann"' },
    { [=[local _ = req.headers[1]]=], "headers: expected the name of a header, got 1" },
    { [=[local _ = req.headers[{}]]=], "headers: expected the name of a header, got a table" },
    { [[req.headers.Host = 'x']],
      "req.headers can't be assigned: what the application gets is changed in on_params" },
    { [[req.headers[1] = 'x']],
      "req.headers can't be assigned: what the application gets is changed in on_params" },
    { [[req.headers:all()]], "headers:all: expected the name of a header, got nothing" },
    { [[req.headers:all({})]], "headers:all: expected the name of a header, got a table" },
    { [[req.headers.all('Host')]],
      'expected a call such as headers:all("Accept") or headers:each() (with a '
      .. 'colon), got "Host" before the name' },
    { [[req.headers.each()]],
      'expected a call such as headers:all("Accept") or headers:each() (with a '
      .. "colon), got nothing before the name" },
    { [[req.args.a = 1]], "req.args and req.cookies can't be assigned: req is read-only" },
    { [[req.args:all()]], "all: expected the name of an argument or cookie, got nothing" },
    { [[req.args:all({})]], "all: expected the name of an argument or cookie, got a table" },
    { [[req.args.all('a')]],
      'expected a call such as req.args:all("name") or req.cookies:each() (with a '
      .. 'colon), got "a"' },
    { [[req.args.each()]],
      'expected a call such as req.args:all("name") or req.cookies:each() (with a '
      .. "colon), got nothing" },
    { [[req.cookies.a = 1]], "req.args and req.cookies can't be assigned: req is read-only" },
    { [[req.cookies:all()]], "all: expected the name of an argument or cookie, got nothing" },
    { [[req.cookies.all('a')]],
      'expected a call such as req.args:all("name") or req.cookies:each() (with a '
      .. 'colon), got "a"' },
    { [[moongate.log()]], 'log: expected "debug", "info", "warn" or "error", got nothing' },
    { [[moongate.log('x')]], 'log: expected "debug", "info", "warn" or "error", got "x"' },
    { [[moongate.log('inof', 'x')]],
      'log: expected "debug", "info", "warn" or "error", got "inof"; did you mean '
      .. "'info'?" },
    { [[moongate.log('info', '%d', 'x')]],
      'log: what is given does not fit the format "%d": value 1: (number expected, '
      .. "got string)" },
    { [[moongate.log({}, 'x')]], 'log: expected "debug", "info", "warn" or "error", got a table' },
    { [[moongate.log('info', '%y', 1)]],
      "log: what is given does not fit the format \"%y\": invalid option '%y' to 'format'" },
    { [[moongate.sleep()]], "sleep: expected seconds from 0 to 86400, got nothing" },
    { [[moongate.sleep('1')]], 'sleep: expected seconds from 0 to 86400, got "1"' },
    { [[moongate.sleep(-1)]], "sleep: expected seconds from 0 to 86400, got -1" },
    { [[moongate.sleep(0/0)]], "sleep: expected seconds from 0 to 86400, got nan" },
    { [[moongate.sleep(1e9)]], "sleep: expected seconds from 0 to 86400, got 1000000000" },
    { [[moongate.sleep({})]], "sleep: expected seconds from 0 to 86400, got a table" },
    { [[moongate.spawn()]],
      "spawn: expected a function, as in moongate.spawn(function() ... end), got nothing" },
    { [[moongate.spawn(1)]],
      "spawn: expected a function, as in moongate.spawn(function() ... end), got 1" },
    { [[moongate.spawn(moongate.log('info','x'))]],
      "spawn: expected a function, as in moongate.spawn(function() ... end), got nothing" },
    { [[moongate.every()]], "every: expected seconds from 0 to 86400, got nothing" },
    { [[moongate.every(1)]],
      "every: expected a function, as in moongate.every(10, function() ... end), got nothing" },
    { [[moongate.every(0, print)]], "every: expected at least 0.001 seconds, got 0" },
    { [[moongate.every('a', print)]], 'every: expected seconds from 0 to 86400, got "a"' },
    { [[moongate.every(function() end, 1)]],
      "every: expected seconds from 0 to 86400, got a function" },
    { [[moongate.every(1, 'x')]],
      'every: expected a function, as in moongate.every(10, function() ... end), got "x"' },
    { [[moongate.fastcgi()]], "fastcgi: expected the name of a backend, got nothing" },
    { [[moongate.fastcgi({}, {})]], "fastcgi: expected the name of a backend, got a table" },
    { [[moongate.fastcgi('app')]],
      "fastcgi: expected a table of params as second argument, got nothing" },
    { [[moongate.fastcgi('app', { A = {} })]],
      'fastcgi: expected params with a text or number for each name, got "A" = a table' },
    { [[moongate.fastcgi('app', { 'x' })]],
      'fastcgi: expected params with a text or number for each name, got 1 = "x"' },
    { [[moongate.fastcgi('app', { PHP_VALUE = 'a=1' })]],
      "fastcgi: 'PHP_VALUE' is refused: PHP-FPM's processes keep such settings for the next "
      .. "request, whosever that is; 'ini' of the backend goes with this one too" },
    { [[moongate.fastcgi('app', { PHP_ADMIN_VALUE = 1 })]],
      "fastcgi: 'PHP_ADMIN_VALUE' is refused: PHP-FPM's processes keep such settings for the next "
      .. "request, whosever that is; 'ini' of the backend goes with this one too" },
    { [[moongate.fastcgi('app', {}, {})]], "fastcgi: expected a text as body, got a table" },
    { [[setmetatable(req.args, {}).a = 1]], "cannot change a protected metatable" },
    { [=[("abc"):gsub("b", function() moongate.sleep(0) end)]=],
      "this can't wait inside a function that C has called" },
    { [=[table.sort({ 1, 2 }, function() moongate.tcp():connect("127.0.0.1", 1) end)]=],
      "this can't wait inside a function that C has called" },
    { [[moongate.escape()]], "escape: expected a text, got nothing" },
    { [[moongate.escape({})]], "escape: expected a text, got a table" },
    { [[moongate.unescape()]], "unescape: expected a text, got nothing" },
    { [[moongate.unescape({})]], "unescape: expected a text, got a table" },
    { [[moongate.escape(nil)]], "escape: expected a text, got nothing" },
    { [[local _ = moongate.slep]], "moongate: there is no 'slep'; did you mean 'sleep'?" },
    { [[moongate.log = print]],
      "moongate.log can't be assigned: the module is the same for all scripts" },
    { [[moongate.mine = 1]],
      "moongate.mine can't be assigned: the module is the same for all scripts" },
    { [[moongate.slep(1)]], "moongate: there is no 'slep'; did you mean 'sleep'?" },
    { [=[local _ = moongate[1]]=], "moongate: there is no '1'" },
    { [[local _ = undefined_thing]], "undeclared global 'undefined_thing'" },
    { [[undefined_global = 1]],
      "global 'undefined_global' set while requests run; say 'local', or use req.ctx" },
    { [[router.new({}):path('/x', 1)]],
      "router: path: expected a decision, a function or a router as handler, got 1" },
    { [[router.new(1)]],
      "router.new: expected a table such as { default = { status = 404 } }, got 1" },
    { [[router.new{ defualt = 1 }]], "router: unknown key 'defualt'; did you mean 'default'?" },
    { [[router.new():path()]],
      'router: path: expected a path such as "/about" or "/shop/*", got nothing' },
    { [[router.new():path('x', {status=200})]], "router: path: 'x' does not begin with \"/\"" },
    { [[router.new():host()]],
      'router: host: expected a name such as "shop.example" or "*.example", got nothing' },
    { [[router.new():host(1, {status=200})]],
      'router: host: expected a name such as "shop.example" or "*.example", got 1' },
    { [[router.new():match('[', {status=200})]],
      "router: match: '[': malformed pattern (missing ']')" },
    { [[router.new():method({}, {status=200})]],
      'router: method: expected methods such as "POST", got none' },
    { [[router.new():method('get', {status=200})]],
      'router: method: expected methods in capitals such as "POST", got "get"' },
    { [[router.new():method(1, {status=200})]],
      'router: method: expected methods such as "POST", got 1' },
    { [[router.new():use()]],
      "router: use: expected a decision, a function or a router as handler, got nothing" },
    { [[router.new():use(1)]],
      "router: use: expected a decision, a function or a router as handler, got 1" },
    { [[router.new().path('/x', {status=200})]],
      'router: path: expected a path such as "/about" or "/shop/*", got a table' },
    { [[router.new():pth('/x', {})]], "router: there is no method 'pth'; did you mean 'path'?" },
    { [[router.new():path('/x', {status=99})]],
      "router: path '/x': status: expected a whole number from 200 to 599, got 99" },
    { [[router.new():path('/x', {})]], "router: path '/x': an empty table is no decision" },
    { [[router.new()()]], "router: expected a request, as in r(req), got nothing" },
    { [[router.new()(1)]], "router: expected a request, as in r(req), got 1" },
    { [[local r = router.new() r:path('/x', {status=200}) r:path('/x', {status=200})]],
      "router: path '/x' is there already" },
    { [[router.new():explain()]], "router: explain: expected a request, got nothing" },
    { [[router.new{ default = 1 }]],
      "router: default: expected a decision, a function or a router as handler, got 1" },
    { [[router.new():path('/x')]],
      "router: path: expected a decision, a function or a router as handler, got nothing" },
    { [[proxypass.new():pass("/", "http://h/")]], 'proxypass: pass: "http://h/": only fcgi:// can '
      .. "be had: Moongate speaks FastCGI to its backends, and no http" },
    { [[proxypass.new():reverse("/", "http://h/")]],
      "proxypass: reverse: this can be made only while the route is loaded, not in a hook" },
    { [[limit.rate{ rate = 1, redis = "127.0.0.1:1" }]], "limit.rate: name: expected one beside "
      .. "'redis', since other machines find their counts by it" },
    { [[http.request{ url = "https://h/" }]], "http.request: url: https:// is not available: there "
      .. "is no TLS yet; let HAProxy, nginx or stunnel on this machine speak it, and name its "
      .. "http:// address" },
    { [[php.site()]], "php.site: expected a table of options, got nothing" },
    { [[php.site(1)]], "php.site: expected a table of options, got 1" },
    { [[php.site{}]], "php.site: 'root' is missing: the folder of the site; or 'docroot', where "
      .. "only the backend has it" },
    { [[php.site{ root = 1 }]], "php.site: root: expected a folder, or a function, got 1" },
    { [[php.site{ root = '/x' }]],
      "php.site: 'backend' is missing: the name of the backend that runs the scripts" },
    { [[php.site{ root='/x', bakend='a' }]],
      "php.site: unknown key 'bakend'; did you mean 'backend'?" },
    { [[php.site{ root='/x', backend=1 }]],
      "php.site: backend: expected the name of a backend, or a function, got 1" },
    { [[php.site{ root='/x', backend='app', front='x' }]],
      'php.site: front: expected a path such as "/index.php", or false, got "x"' },
    { [[php.site{ root='/x', backend='app', try={} }]], "php.site: try: the list is empty" },
    { [[php.site{ root='/x', backend='app', index={1} }]],
      'php.site: index: expected a list of names such as "index.php", got 1 in it' },
    { [[php.site{ root='/x', backend='app', scripts={'php'} }]],
      'php.site: scripts: expected a list of extensions such as ".php", got "php" in it' },
    { [[php.site{ root='/x', backend='app', never='[' }]],
      "php.site: never: '[' is not a Lua pattern" },
    { [[php.site{ root='/x', backend='app', version='8.2' }]],
      "php.site: version: 'versions' is missing: which backend runs which version?" },
    { [[php.site{ root='/x', backend='app', static={a=1} }]], "php.site: static: unknown key 'a'" },
    { [[php.site{ root='/x', backend='app', params={PHP_VALUE='x'} }]],
      "php.site: params: 'PHP_VALUE' is refused: PHP-FPM's processes keep such "
      .. "settings for the next request, whosever that is; 'ini' of the backend and the "
      .. "decision sets them safely" },
    { [[php.site{ root='/x', backend='app', strip='wiki' }]],
      'php.site: strip: expected a prefix such as "/wiki", got "wiki"' },
    { [[php.site{ root='/x', backend='app', docroot='x' }]],
      "php.site: docroot: expected an absolute path (the site as the backend sees "
      .. 'it), got "x"' },
    { [[php.site{ root='/x', backend='app', versions={['8']=1} }]],
      "php.site: versions: expected a table from version to backend, such as { "
      .. '["8.2"] = "php82" }, got 1 for "8"' },
    { [[php.site{ root='/x', backend='app', run={'x'} }]],
      'php.site: run: expected a list of scripts, or a pattern, got "x" in it' },
    { [[php.site{ root='/x', backend='app', try={'x'} }]],
      "php.site: try: 'x' begins neither with \"$path\" nor with \"/\"" },
    { [[php.sites{}]], "moongate.php: there is no 'sites'; did you mean 'site'?" },
    { [[php.site{ root = '/x', backend = 'app' }()]],
      "php.site: expected a request, as in site(req), got nothing" },
    { [[php.site{ root = '/x', backend = 'app' }(1)]],
      "php.site: expected a request, as in site(req), got 1" },
    { [[php.site{ root = function() return 1 end, backend = 'app' }(req)]],
      "php.site: the function for 'root': expected an absolute path such as \"/srv/www\", got 1" },
  },
  on_params = {
    { [[http.request{ url = "http://127.0.0.1:1/" }]], "http.request: this hook can't wait: only "
      .. "on_start, on_certificate, on_request, on_error, timers and what moongate.spawn runs "
      .. "may" },
    { [[params[1] = 'x']], "params: expected the name of a param, got 1" },
    { [[params[nil] = 1]], "params: expected the name of a param, got nothing" },
    { [[params[{}] = 1]], "params: expected the name of a param, got a table" },
    { [[params.A = {}]], "params.A: expected a text, a number or nil, got a table" },
    { [[params.A = true]], "params.A: expected a text, a number or nil, got true" },
    { [[params.A = function() end]], "params.A: expected a text, a number or nil, got a function" },
    { [[params.PHP_VALUE = 'x']],
      "params.PHP_VALUE: raw PHP settings stay in PHP-FPM's child for the next "
      .. "request; use 'ini' of the backend and of the decision" },
    { [[params.CONTENT_LENGTH = 1]],
      "params.CONTENT_LENGTH can't be changed: it is the number of bytes that follow" },
    { [[params[''] = 'x']], 'params: expected the name of a param, got ""' },
    { [[params.each()]],
      "expected a call such as params:each() (with a colon), got nothing before the name" },
    { [=[local _ = params[1]]=], "params: expected the name of a param, got 1" },
    { [=[local _ = params[{}]]=], "params: expected the name of a param, got a table" },
    { [[req.path = 1]],
      "req.path can't be assigned: req is read-only; what a script keeps goes into "
      .. 'fields of req.ctx, as in req.ctx.user = "ann"' },
    { [[params.PHP_ADMIN_VALUE=nil]],
      "params.PHP_ADMIN_VALUE: raw PHP settings stay in PHP-FPM's child for the next "
      .. "request; use 'ini' of the backend and of the decision" },
  },
  on_response = {
    { [[res.status = 1]], "res.status: expected a whole number from 200 to 599, got 1" },
    { [[res.status = '200']], 'res.status: expected a whole number from 200 to 599, got "200"' },
    { [[res.status = 'x']], 'res.status: expected a whole number from 200 to 599, got "x"' },
    { [[res.status=404.5]], "res.status: expected a whole number from 200 to 599, got 404.5" },
    { [[res.body = 'x']], "res.body can't be assigned: only res.status and res.headers[name] can" },
    { [[local _ = res.body]], 'res has no field "body"; it has: status headers' },
    { [=[local _ = res[1]]=], "res has no field 1; it has: status headers" },
    { [[res[1] = 1]], "res[1] can't be assigned: only res.status and res.headers[name] can" },
    { [[res.headers = {}]],
      "res.headers can't be assigned: only res.status and res.headers[name] can" },
    { [[res.headers['Content-Length'] = 5]],
      "res.headers: 'Content-Length' is the connection's, a script can't set it" },
    { [[res.headers.Connection = 'x']],
      "res.headers: 'Connection' is the connection's, a script can't set it" },
    { [[res.headers['Bad Name'] = 'x']],
      'res.headers: expected the name of a header such as "X-Page", got "Bad Name"' },
    { [[res.headers['X-A'] = 'a\nb']],
      'res.headers["X-A"]: expected a text without control bytes, got "a?b"' },
    { [[res.headers['X-A'] = {1, {}}]],
      'res.headers["X-A"]: expected a text, a number, a list of them or nil, got a table' },
    { [[res.headers['X-A'] = true]],
      'res.headers["X-A"]: expected a text, a number, a list of them or nil, got true' },
    { [[res.headers[1] = 'x']], "res.headers: expected the name of a header, got 1" },
    { [[res.headers[''] = 'x']],
      'res.headers: expected the name of a header such as "X-Page", got ""' },
    { [[res.headers:all()]], "headers:all: expected the name of a header, got nothing" },
    { [[res.headers['X-A'] = function() end]],
      'res.headers["X-A"]: expected a text, a number, a list of them or nil, got a function' },
    { [[res.headers['X-A'] = {a='b'}]],
      'res.headers["X-A"]: expected a list of texts, got a table with other keys' },
  },
  on_balance = {
    { [[local _ = servers[1].wieght]], 'a server has no field "wieght"; it has: address weight' },
    { [[servers[1].weight = 2]],
      "server.weight can't be assigned: servers are read-only; what a policy keeps "
      .. "goes into a table of its own, with the server as key" },
    { [=[local _ = servers[1][9]]=], "a server has no field 9; it has: address weight" },
    { [=[local _ = servers[1][{}]]=], "a server has no field a table; it has: address weight" },
    { [[return 7]], "expected one of the servers that it was given, or nil, got 7" },
    { [[return {}]], "expected one of the servers that it was given, or nil, got a table" },
    { [[return 'a', 'b']], 'expected one of the servers that it was given, or nil, got "a"' },
    { [[return servers[1], 'a\nb']],
      'expected the text of a Set-Cookie header as second result, or nil, got "a?b"' },
    { [[return servers[1], 5]],
      "expected the text of a Set-Cookie header as second result, or nil, got 5" },
    { [[return req]], "expected one of the servers that it was given, or nil, got a userdata" },
    { [[return servers]], "expected one of the servers that it was given, or nil, got a table" },
  },
  on_log = {
    { [[return 5]], "expected a line, false or nil as its result, got 5" },
    { [[return {}]], "expected a line, false or nil as its result, got a table" },
    { [[return true]], "expected a line, false or nil as its result, got true" },
    { [[local _ = log.stauts]], 'log has no field "stauts"; it has: time duration id' },
    { [=[local _ = log[1]]=], "log has no field 1; it has: time duration id" },
    { [[log.status = 200]], "log.status can't be assigned: log is read-only" },
    { [[log.all()]],
      "expected a call such as log:all() (with a colon), got nothing before the name" },
    { [[log.all(req)]],
      "expected a call such as log:all() (with a colon), got a userdata before the name" },
  },
  on_error = {
    { [[return 5]],
      "on_error returned a decision that can't be used: expected a decision (a "
      .. "table) or nil, got 5" },
    { [[return {}]],
      "on_error returned a decision that can't be used: an empty table is no decision" },
    { [[return { status = 99 }]],
      "on_error returned a decision that can't be used: status: expected a whole "
      .. "number from 200 to 599, got 99" },
  },
  on_stderr = {
    { [[return 5]], "expected true, false, a decision or nothing as its result, got 5" },
    { [[messages[1].text = nil]],
      "it changed messages[1]: expected a table with a text, got its text as nothing" },
    { [[messages[1] = 5]], "it changed messages[1]: expected a table with a text, got 5" },
  },
  decision = {
    { [[return 1]],
      "on_request returned a decision that can't be used: expected a decision (a "
      .. "table) or nil, got 1" },
    { [[return 'x']],
      "on_request returned a decision that can't be used: expected a decision (a "
      .. 'table) or nil, got "x"' },
    { [[return true]],
      "on_request returned a decision that can't be used: expected a decision (a "
      .. "table) or nil, got true" },
    { [[return {}]],
      "on_request returned a decision that can't be used: an empty table is no decision" },
    { [[return { status = '200' }]],
      "on_request returned a decision that can't be used: status: expected a whole "
      .. 'number from 200 to 599, got "200"' },
    { [[return { sttaus = 200 }]],
      "on_request returned a decision that can't be used: unknown key 'sttaus' in a "
      .. "decision; did you mean 'status'?" },
    { [[return { backend = 'app', read_timeout = '5' }]],
      "on_request returned a decision that can't be used: read_timeout: expected a duration such "
      .. 'as 5, "250ms", "2m" or "1h", above zero, got "5"' },
    { [[return { backend = 'app', body_limit = '5' }]],
      "on_request returned a decision that can't be used: body_limit: expected a size such as "
      .. '4096, "16k", "1M" or "1G", got "5"' },
    { [[return { backend = 'ap' }]],
      "on_request returned a decision that can't be used: there is no backend 'ap'; "
      .. "did you mean 'app'?" },
    { [[return { backend = 1 }]],
      "on_request returned a decision that can't be used: backend: expected a text, got 1" },
    { [[return { backend = 'app', root = 'x' }]],
      "on_request returned a decision that can't be used: root: expected an absolute "
      .. 'path such as "/srv/www", got "x"' },
    { [[return { backend='app', body='x' }]],
      "on_request returned a decision that can't be used: 'body' does not go with "
      .. "'backend', which makes this a FastCGI decision" },
    { [[return { redirect = 1 }]],
      "on_request returned a decision that can't be used: redirect: expected a URL "
      .. "or a path, got 1" },
    { [[return { close = false }]],
      "on_request returned a decision that can't be used: close: expected true, got false" },
    { [[return { file = 'x' }]],
      "on_request returned a decision that can't be used: file: expected an absolute "
      .. 'path such as "/srv/www", got "x"' },
    { [[return { file='/x', root='/y' }]],
      "on_request returned a decision that can't be used: 'file' names the whole "
      .. "path; 'root', 'path' and 'try' do not go with it" },
    { [[return { status=200, headers=1}]],
      "on_request returned a decision that can't be used: headers: expected a table "
      .. "of headers, got 1" },
    { [[return { status=200, headers={1}}]],
      "on_request returned a decision that can't be used: headers: the keys are "
      .. 'names of headers, as in { ["X-A"] = "b" }; there is one without' },
    { [[return { status=200, headers={['a b']='x'}}]],
      "on_request returned a decision that can't be used: headers: 'a b' cannot be "
      .. "the name of a header" },
    { [[return router.new()]],
      "on_request returned a decision that can't be used: this is a router, and it "
      .. "was not asked: say `return r(req)`" },
    { [[return function() end]],
      "on_request returned a decision that can't be used: expected a decision (a "
      .. "table) or nil, got a function" },
    { [[return req]],
      "on_request returned a decision that can't be used: expected a decision (a "
      .. "table) or nil, got a userdata" },
    { [[return { backend='app', params={A={}} }]],
      "on_request returned a decision that can't be used: params: 'A': expected a "
      .. "text, a number or false, got a table" },
    { [[return { backend='app', params=1 }]],
      "on_request returned a decision that can't be used: params: expected a table "
      .. "from name to text, number or false, got 1" },
    { [[return { backend='app', read_timeout='x' }]],
      "on_request returned a decision that can't be used: read_timeout: expected a "
      .. 'duration such as 5, "250ms", "2m" or "1h", above zero, got "x"' },
    { [[return { backend='app', server='x y' }]], "backend 'app' has no server x y" },
    { [[return { backend='app', server='10.0.0.1:1' }]], "backend 'app' has no server 10.0.0.1:1" },
    { [[return { backend='app', ini={a=1} }]],
      "a decision that can't be used: ini: 'a' is not in the 'ini' of backend 'app', "
      .. "which must name every setting and its value for other requests, since "
      .. "PHP-FPM's processes keep the last one that they saw" },
    { [[return { backend='app', attempts=0 }]],
      "on_request returned a decision that can't be used: attempts: expected a whole "
      .. "number from 1 to 100, got 0" },
    { [[return { backend='app', hash_key=1 }]],
      "on_request returned a decision that can't be used: hash_key: expected a text, got 1" },
    { [[return {backend='app', tenant=5}]],
      "on_request returned a decision that can't be used: tenant: expected a text, got 5" },
    { [[return {root='/x', index=1}]],
      "on_request returned a decision that can't be used: index: expected a list of "
      .. 'file names such as { "index.html" }, got 1' },
    { [[return {root='/x', try={}}]], "a decision that can't be used: try: the list is empty" },
    { [[return {root='/x', try={{status=200},'/x'}}]],
      "a decision that can't be used: try: expected a list of paths such as { "
      .. '"$path", "/index.html" }, of which the last may be a decision, got others' },
    { [[return {root='/x', cache_control={}}]],
      "on_request returned a decision that can't be used: cache_control: expected a "
      .. "text, got a table" },
    { [[return { path = '/x' }]],
      "on_request returned a decision that can't be used: 'path' alone is no "
      .. "decision: it needs 'backend', 'root', 'file', 'status', 'redirect' or 'close' "
      .. "beside it" },
    { [[return { backend='app', script='x.php' }]],
      "a decision that can't be used: script: expected a path that begins with \"/\", "
      .. 'got "x.php"' },
    { [[return { backend='app', intercept_errors={200} }]],
      "on_request returned a decision that can't be used: intercept_errors: expected "
      .. "true, or a list of statuses from 400 to 599, got 200 in it" },
    { [[return {backend='app', strip='x'}]],
      "a decision that can't be used: strip: expected a path that begins with \"/\", "
      .. 'got "x"' },
    { [[return {backend='app', internal={['x']='y'}}]],
      "on_request returned a decision that can't be used: internal: a prefix begins "
      .. 'with "/", as in { ["/protected/"] = "/srv/private" }, got "x"' },
    { [[return {backend='app', within={}}]],
      "on_request returned a decision that can't be used: within: the list is empty" },
    { [[return {backend='app', body_limit='x'}]],
      "on_request returned a decision that can't be used: body_limit: expected a "
      .. 'size such as 4096, "16k", "1M" or "1G", got "x"' },
    { [[return {[1]=2}]],
      "on_request returned a decision that can't be used: unknown key '1' in a decision" },
    { [[return setmetatable({}, {__index={status=200}})]],
      "on_request returned a decision that can't be used: an empty table is no decision" },
  },
}

local HOOKS = {
  "on_request", "on_params", "on_response", "on_balance", "on_log", "on_error", "on_stderr",
  "decision",
}

local BEFORE = [[
local moongate = require("moongate")
local router = require("moongate.router")
local http = require("moongate.http")
local limit = require("moongate.limit")
local php = require("moongate.php")
local proxypass = require("moongate.proxypass")
local T = {}
]]

-- Errors are caught, so that one message is all that is looked at; results are the hook's own.
local RUN = [[
local function run(name, req, ...)
  if req.args.Name == name then
    local result = { pcall(T[name][tonumber(req.args.N)], req, ...) }
    if result[1] then
      return unpack(result, 2, 3)
    end
    moongate.log("info", "MISUSE %s", tostring(result[2]))
  end
end
]]

--- The functions, and the line of each.
local function functions()
  local text, lines = { BEFORE }, {}
  local _, line = BEFORE:gsub("\n", "")
  for _, name in ipairs(HOOKS) do
    text[#text + 1] = ("T.%s = {}\n"):format(name)
    line, lines[name] = line + 1, {}
    for i, case in ipairs(MISUSES[name]) do
      text[#text + 1] = ("T.%s[%d] = function(req, params, res, servers, log, err, messages) "
        .. "%s end\n"):format(name, i, case[1])
      line = line + 1
      lines[name][i] = line
    end
  end
  return table.concat(text) .. RUN, lines
end

describe("a misuse of", function()
  local text, lines = functions()
  local r

  setup(function()
    r = rig.start({
      responder = { count = 2 }, backend = "max_fails = 0", before = text,
      on_request = [[
        if req.args.Name == "on_request" then
          run("on_request", req)
          return { status = 200 }
        elseif req.args.Name == "decision" then
          return run("decision", req)
        elseif req.args.Name == "on_error" then
          return { backend = "app", docroot = "/srv/app", intercept_errors = { 418 } }
        end
      ]],
      settings = [[
        on_params = function(req, params) return run("on_params", req, params) end,
        on_response = function(req, res) return run("on_response", req, nil, res) end,
        on_balance = function(req, list) return run("on_balance", req, nil, nil, list) end,
        on_log = function(req, log) return run("on_log", req, nil, nil, nil, log) end,
        on_error = function(req, err) return run("on_error", req, nil, nil, nil, nil, err) end,
        on_stderr = function(req, messages)
          return run("on_stderr", req, nil, nil, nil, nil, nil, messages)
        end
      ]],
    })
  end)

  teardown(function() r:stop() end)

  for _, name in ipairs(HOOKS) do
    for i, case in ipairs(MISUSES[name]) do
      it(("%s: %s"):format(name, case[1]), function()
        local mark = r.server:mark()
        local commands = name == "on_error" and "status=418"
          or name == "on_stderr" and "stderr=oops" or "body=x"
        http.get(r.address, ("/x?Name=%s&N=%d&%s"):format(name, i, commands))
        local expected = case[2]:gsub("%p", "%%%0")
        -- A misuse is in its own line; a result that can't be used in that of the hook, which is
        -- somewhere behind the functions.
        local thrown = not case[1]:find("^return ") and name ~= "on_stderr"
        local line = r.server:wait_log(
          (thrown and "MISUSE [^ ]*route%.lua:(%d+): " or "route%.lua:(%d+).*") .. expected, nil,
          mark)
        local number = tonumber(line:match("route%.lua:(%d+)"))
        if thrown then
          assert.equal(lines[name][i], number, line)
        else
          assert.is_true(number > lines.decision[#lines.decision], line)
        end
      end)
    end
  end
end)

describe("what only a running server has is refused while a route is loaded:", function()
  for _, call in ipairs({ "sleep(1)", "every(1, print)", "spawn(print)" }) do
    it(call, function()
      local dir = process.tempdir("route")
      stage.write(dir, { ["route.lua"] = ([[
        local moongate = require("moongate")
        moongate.%s
        return { on_request = function() end }]]):format(call) })
      local result = server.command({ "check", dir .. "/route.lua" })
      assert.equal(1, result.code)
      assert.matches("route.lua:2: no server runs here yet: call this in on_start or another hook, "
        .. "not while the script is loaded", result.stderr)
    end)
  end
end)

describe("what only the commands do", function()
  -- A script that looks for it, at its top and in a hook.
  local LOOK = [[
    local function look()
      local core, found = require("moongate.core"), {}
      for _, name in ipairs({ "run", "stop", "reload", "hold", "drain", "backends", "state",
        "become", "setenv", "fcgi", "ask", "pause", "tempdir" }) do
        if core[name] then found[#found + 1] = name end
      end
      for _, name in ipairs({ "core.commands", "cli.run", "cli.stop" }) do
        if pcall(require, "moongate." .. name) then found[#found + 1] = name end
      end
      return table.concat(found, " ")
    end
    assert(look() == "", look())
  ]]

  it("is not there for a script of a server, whose commands go on to work", function()
    local r = rig.start({
      control = true, before = LOOK,
      on_request = [[
        do return { status = 200, body = "<" .. look() .. ">" } end]],
    })
    finally(function() r:stop() end)
    assert.equal("<>", http.get(r.address, "/").body)
    assert.equal("app", r:status().backends[1].name)
    assert.equal("backend 'app' serves again\n", r:tell("resume", "app"))
  end)

  it("is not there where a command looks at a script", function()
    local dir = process.tempdir("route")
    stage.write(dir, {
      ["route.lua"] = LOOK .. "return { on_request = function() assert(look() == '', look()) end }",
      ["spec/one_spec.lua"] = LOOK .. "it('has none', function() assert.equal('', look()) end)",
    })
    for _, args in ipairs({
      { "check", dir .. "/route.lua" }, { "explain", dir .. "/route.lua", "/" },
      { "test", dir .. "/route.lua" },
    }) do
      local result = server.command(args)
      assert.equal(0, result.code, result.stderr)
    end
  end)
end)
