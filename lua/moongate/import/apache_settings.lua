-- moongate.import.apache_settings owns Apache's settings that sections inherit: handlers, access,
-- headers, errors,
-- time-outs. Called by moongate.import.apache.

local Model = require("moongate.import.model")
local pattern = require("moongate.import.pattern")
local proxy = require("moongate.import.apache_proxy")
local responses = require("moongate.import.apache_responses")

local M = {}

local quote = pattern.quote

local IDLE = Model.names([[
  loadmodule serverroot pidfile defaultruntimedir errorlog customlog loglevel logformat
  transferlog user group serveradmin serversignature servertokens usecanonicalname
  usecanonicalphysicalport hostnamelookups accessfilename startservers minsparethreads
  maxsparethreads threadlimit threadsperchild maxrequestworkers serverlimit mutex
  maxconnectionsperchild minspareservers maxspareservers threadstacksize keepalive
  enablesendfile enablemmap fileetag typesconfig proxyfcgibackendtype proxyrequests proxyvia
  addtype adddefaultcharset adddefaultcharset_ allowoverride rewriteoptions rewriteloglevel
  rewritelog directoryslash cgipassauth fastcgiwrapper fastcgiipcdir proxypreservehost
  traceenable fastcgiexternalserver allowencodedslashes acceptpathinfo protocols addhandler_
  namevirtualhost extendedstatus serverpath documentroot servername serveralias alias aliasmatch
  addencoding addlanguage languagepriority forcelanguagepriority mimemagicfile contentdigest
  requestreadtimeout namewidth expiresactive_ authbasicprovider authtype proxyadd_headers
  proxyaddheaders undefine unsetdefine proxypassreverse proxypassreversecookiepath
  proxypassreversecookiedomain proxyset deflatebuffersize deflatememlevel deflatewindowsize
  deflatefilternote deflatealteretag deflateinflatelimitrequestbody deflateinflateratiolimit
  deflateinflateratioburst brotlialteretag brotlicompressionmaxinputblock brotlicompressionwindow
  brotlifilternote
]])

local WHY = {
  ["^ssl"] = "TLS ends in a proxy in front", ["^setenvif"] = "`params` in a function",
    ["^browsermatch"] = "`params` in a function",
  ["^php_"] = "PHP's pool, .user.ini or `ini`", ["^rewritemap"] = "a table in Lua",
    ["outputfilter"] = "of filters DEFLATE and BROTLI_COMPRESS, of a server or a folder",
  ["^filter"] = "`compress` of the route", ["^cache"] = "`cache` of a decision: docs/cache.md",
    ["^proxypass"] = "Moongate speaks FastCGI only",
  ["^sethandler"] = "not a handler of FastCGI", ["^scriptalias"] = "Moongate runs no CGI",
    ["^header"] = "this form of it",
  ["^limitreq"] = "another value", ["^requestheader"] = "on_params",
    ["^auth"] = "only Basic with AuthUserFile",
  ["^fcgid"] = "mod_fcgid starts its processes itself: use PHP-FPM",
    ["^fastcgi"] = "processes are PHP-FPM's",
  ["^indexoptions"] = "there are no listings of folders", ["^sec"] = "mod_security",
    ["^options"] = "there are no listings of "
  .. "folders, no CGI and no includes",
}

--- What a section begins with.
function M.child(parent)
  local ctx = setmetatable({}, { __index = function(_, key)
    if key == "pass" or key == "access" or key == "section" or key == "test" or key == "matters"
      or key == "whole" then
      return nil
    end
    return parent and parent[key]
  end })
  for _, key in ipairs({ "params", "values", "headers", "always", "static", "errors" }) do
    ctx[key] = {}
    for name, value in pairs(parent and parent[key] or {}) do
      ctx[key][name] = value
    end
  end
  ctx.index = parent and parent.index or { "index.html" }
  return ctx
end

local S = {}

local function extension_of(section)
  if not section then
    return nil
  end
  local text = section.args[#section.args] or ""
  if section.name == "filesmatch" or section.args[1] == "~" then
    local ext = text:match("\\%.(%w+)%$$") or text:match("\\%.(php%d?)")
    if text:find("ph", 1, true) then
      return ext and "." .. ext or ".php", text
    end
    return ext and "." .. ext
  end
  return text:match("^%*(%.%w+)$")
end

-- A handler of FastCGI: by section, or for an extension.
local function handler(self, ctx, text, scripts, node)
  local backend = proxy.target(self.model, text)
  if not backend then
    return false
  end
  local section = rawget(ctx, "section")
  local php = { backend = backend, scripts = scripts and scripts ~= ".php" and { scripts } or nil }
  if scripts then
    ctx.php, ctx.matters = php, true
    return true
  elseif not section then
    ctx.php = php
    return true
  elseif section.name:find("^files") then
    local ext, regex = extension_of(section)
    if not ext then
      return false
    end
    php.scripts = ext ~= ".php" and { ext } or nil
    if regex and regex:find("phtml", 1, true) then
      php.scripts = { ".php", ".phtml" }
    end
    -- Scripts of the whole server, or of the section around this one.
    local owner = self.owners and self.owners[ctx] or nil
    local target = owner or self.ctx
    target.php, target.matters = php, true
    return true
  elseif section.name:find("^location") then
    ctx.pass = { backend = backend, handler = true, node = node, from = "/" }
    return true
  end
  ctx.php, ctx.matters = php, true
  return true
end

S.sethandler = function(self, ctx, node)
  local text = node.args[1] or ""
  if text:lower() == "none" or text == "default-handler" then
    local section = rawget(ctx, "section")
    if section and not section.name:find("^files") then
      ctx.php, ctx.matters = false, true
      return true
    end
    return text:lower() == "none"
  end
  if text:find("httpd%-php") or text:find("^application/x%-httpd")
    or text:find("x%-httpd%-php") then
    self.wants_php = true
    return true
  end
  return handler(self, ctx, text, nil, node)
end

S.addhandler = function(self, ctx, node)
  local text = node.args[1] or ""
  if text:find("httpd%-php") or text:find("fastcgi") or text:find("^php") then
    -- FastCgiExternalServer and Action say who runs them.
    local _, backend = next(self.model.externals)
    if backend then
      ctx.php = { backend = backend }
      return true
    end
    self.wants_php = true
    return true
  end
  return handler(self, ctx, text, node.args[2] and "." .. node.args[2]:gsub("^%.", "") or ".php",
    node)
end

S.action = function(self, ctx)
  local _, backend = next(self.model.externals)
  if backend then
    ctx.php = { backend = backend }
  end
  return backend ~= nil
end

S.proxypass = function(self, ctx, node)
  local section = rawget(ctx, "section")
  if section and section.name == "location" then
    local pass = { name = "proxypass", shown = node.shown, where = node.where,
      args = { section.args[1], unpack(node.args) } }
    return proxy.pass(self, pass)
  end
  return proxy.pass(self, node)
end
S.proxypassmatch = S.proxypass

S.directoryindex = function(_, ctx, node)
  local list = {}
  for _, name in ipairs(node.args) do
    if name:lower() ~= "disabled" and not name:find("/", 1, true) then
      list[#list + 1] = name
    end
  end
  ctx.index = #list > 0 and list or { "index.html" }
  return #list == #node.args
end

S.fallbackresource = function(_, ctx, node)
  local path = node.args[1] or ""
  if path == "disabled" then
    ctx.front = false
  elseif path:sub(1, 1) == "/" then
    ctx.front, ctx.try, ctx.matters = path, nil, true
  else
    return false
  end
  return true
end

-- Access -----------------------------------------------------------------------------------------

local function access_of(ctx)
  local access = rawget(ctx, "access") or {}
  rawset(ctx, "access", access)
  return access
end

local function addresses(list, args, from)
  for i = from, #args do
    local text = args[i]
    if text:find("^%d+%.%d+%.%d+%.%d+/%d+%.") then
      return false
    elseif text:find("^[%d.]+$") and not text:find("^%d+%.%d+%.%d+%.%d+$") then
      -- "10.1" stands for 10.1.0.0/16.
      local count, made = 0, text:gsub("%.$", "")
      for _ in made:gmatch("%d+") do
        count = count + 1
      end
      text = made .. (".0"):rep(4 - count) .. "/" .. count * 8
    elseif not text:find("^[%x:.]+/?%d*$") then
      return false
    end
    list[#list + 1] = text
  end
  return true
end

function S.require(_, ctx, node)
  local what = (node.args[1] or ""):lower()
  local negated = what == "not"
  if negated then
    what = (node.args[2] or ""):lower()
  end
  if what == "all" and not negated then
    if node.args[2] == "denied" then
      access_of(ctx).denied = true
    else
      rawset(ctx, "access", rawget(ctx, "access") and nil)
    end
    return true
  elseif what == "ip" or what == "local" or what == "host" and node.args[2] == "localhost" then
    local access = access_of(ctx)
    local key = negated and "deny" or "allow"
    access[key] = access[key] or {}
    if what ~= "ip" then
      for _, text in ipairs({ "127.0.0.0/8", "::1" }) do
        table.insert(access[key], text)
      end
      return true
    end
    return addresses(access[key], node.args, negated and 3 or 2)
  elseif what == "valid-user" then
    access_of(ctx).login = { name = "Require", args = node.args, where = node.where }
    return true
  end
  access_of(ctx).denied = true
  return false
end

S.order = function(_, ctx, node)
  ctx.order = (node.args[1] or ""):lower()
  return true
end
S.deny = function(_, ctx, node)
  if (node.args[1] or ""):lower() ~= "from" then
    return false
  elseif (node.args[2] or ""):lower() == "all" then
    access_of(ctx).denied = true
    return true
  end
  local access = access_of(ctx)
  access.deny = access.deny or {}
  return addresses(access.deny, node.args, 2)
end
S.allow = function(_, ctx, node)
  if (node.args[1] or ""):lower() ~= "from" then
    return false
  elseif (node.args[2] or ""):lower() == "all" then
    return true
  end
  local access = access_of(ctx)
  access.allow = access.allow or {}
  return addresses(access.allow, node.args, 2)
end
S.satisfy = function(_, ctx, node)
  access_of(ctx).all = (node.args[1] or ""):lower() == "all"
  return true
end
S.authname = function(_, ctx, node)
  ctx.realm = node.args[1]
  return true
end
S.authuserfile = function(_, ctx, node)
  ctx.users = (node.args[1] or ""):sub(1, 1) == "/" and node.args[1] or nil
  return ctx.users ~= nil
end

-- Headers, errors, values ------------------------------------------------------------------------

-- The extensions of "\.(css|js)$".
local function extensions(section)
  local text = section.args[#section.args] or ""
  local list = {}
  local inner = text:match("^\\%.%(%??:?([%w|?]+)%)%$$") or text:match("^\\%.([%w]+)%$$")
    or text:match("^%.%*\\%.%(([%w|]+)%)%$$")
  if not inner then
    local one = section.name == "files" and text:match("^%*%.(%w+)$")
    return one and { "." .. one } or nil
  end
  for name in inner:gmatch("[^|]+") do
    local before, optional, behind = name:match("^(%w*)(%w)%?(%w*)$")
    if optional then
      list[#list + 1] = "." .. before .. optional .. behind
      list[#list + 1] = "." .. before .. behind
    elseif name:find("^%w+$") then
      list[#list + 1] = "." .. name
    else
      return nil
    end
  end
  return list
end

local function static_rule(self, section, change)
  local list = extensions(section)
  if not list then
    return false
  end
  for _, extension in ipairs(list) do
    local rule = self.ctx.static[extension] or {}
    self.ctx.static[extension] = rule
    change(rule)
  end
  return true
end

S.header = function(self, ctx, node)
  local args, always = { unpack(node.args) }, false
  if args[1] == "always" or args[1] == "onsuccess" then
    always = table.remove(args, 1) == "always"
  end
  local action, name, value = (args[1] or ""):lower(), args[2], args[3]
  if not name or not (action == "set" or action == "add" or action == "append" or action == "merge"
    or action == "setifempty")
    or not value or value:find("%%[{%a]") or args[4] or not name:find("^[%w-]+$") then
    return false
  end
  local section = rawget(ctx, "section")
  if section and section.name:find("^files") then
    return static_rule(self, section, function(rule)
      if name:lower() == "cache-control" then
        rule.cache_control = value
      else
        rule.headers = rule.headers or {}
        rule.headers[name] = value
      end
    end)
  elseif name:lower() == "cache-control" and not always then
    ctx.static.cache_control = value
    return true
  end
  ctx[always and "always" or "headers"][name] = value
  ctx.matters = true
  return true
end

local UNITS = { second = 1, minute = 60, hour = 3600, day = 86400, week = 604800, month = 2592000,
  year = 31536000 }
local EXTENSIONS = {
  ["text/css"] = { ".css" }, ["text/html"] = { ".html", ".htm" },
    ["application/javascript"] = { ".js" },
  ["text/javascript"] = { ".js" }, ["image/png"] = { ".png" }, ["image/jpeg"] = { ".jpg", ".jpeg" },
    ["image/jpg"] = { ".jpg" },
  ["image/gif"] = { ".gif" }, ["image/webp"] = { ".webp" }, ["image/svg+xml"] = { ".svg" },
    ["image/x-icon"] = { ".ico" },
  ["image/vnd.microsoft.icon"] = { ".ico" }, ["font/woff2"] = { ".woff2" },
    ["font/woff"] = { ".woff" },
  ["application/pdf"] = { ".pdf" }, ["video/mp4"] = { ".mp4" }, ["application/json"] = { ".json" },
}

local function expires(args, from)
  local text = table.concat(args, " ", from):lower()
  local short = text:match("^[am](%d+)$")
  if short then
    return tonumber(short)
  end
  local rest, sum = text:match("^access%s+plus%s+(.+)$") or text:match("^access%s+(.+)$")
    or text:match("^now%s+plus%s+(.+)$"), 0
  if text == "access" or text == "now" then
    return 0
  elseif not rest then
    return nil
  end
  for number, unit in rest:gmatch("(%d+)%s+(%a+)") do
    local seconds = UNITS[(unit:gsub("s$", ""))]
    if not seconds then
      return nil
    end
    sum = sum + tonumber(number) * seconds
  end
  return sum
end

S.expiresactive = function(_, ctx, node)
  ctx.expires = (node.args[1] or ""):lower() == "on"
  return true
end
S.expiresdefault = function(_, ctx, node)
  local seconds = expires(node.args, 1)
  if not seconds or rawget(ctx, "section") then
    return false
  end
  ctx.static.cache_control = "max-age=" .. seconds
  return true
end
S.expiresbytype = function(_, ctx, node)
  local seconds, list = expires(node.args, 2), EXTENSIONS[(node.args[1] or ""):lower()]
  if not seconds or not list or rawget(ctx, "section") then
    return false
  end
  for _, extension in ipairs(list) do
    ctx.static[extension] = { cache_control = "max-age=" .. seconds }
  end
  return true
end

S.errordocument = function(_, ctx, node)
  local status, page = tonumber(node.args[1]), node.args[2]
  if not status or not page or status < 400 or status > 599 then
    return false
  elseif page:sub(1, 1) == "/" and not page:find("%.php") then
    ctx.errors[status] = page
    return true
  elseif page:find("^https?:") or page:sub(1, 1) == "/" then
    return false
  end
  ctx.errors[status] = { status = status, body = page,
    headers = { ["Content-Type"] = "text/html; charset=iso-8859-1" } }
  return true
end

local function redirect(match)
  return function(self, ctx, node)
    local args, status = { unpack(node.args) }, 302
    local names = { permanent = 301, temp = 302, seeother = 303, gone = 410 }
    if names[args[1]] or (args[1] or ""):find("^%d%d%d$") then
      status = names[args[1]] or tonumber(args[1])
      table.remove(args, 1)
    end
    if node.name == "redirectpermanent" then
      status = 301
    end
    local from, to = args[1], args[2]
    if rawget(ctx, "section") or not from then
      return false
    end
    local lines = self.redirects
    local function add(text, ...)
      lines[#lines + 1] = text:format(...)
    end
    if match then
      local made, matched = pattern.captures("path", from)
      local text = to and to:gsub("%s", "")
      local out = {}
      for literal, number in (to or "") :gmatch("([^$]*)%$?(%d?)") do
        if literal ~= "" then
          out[#out + 1] = quote(literal)
        end
        if number ~= "" then
          out[#out + 1] = ('rewrite.escape(m[%s] or "")'):format(number)
        end
      end
      add("do -- %s (%s)", node.shown .. " " .. node.text:gsub("%c", " "),
        node.where:match("[^/]*$"))
      add("  local m = %s", made)
      add("  if m%s then", matched)
      if not text or status >= 400 then
        add("    return { status = %d }", status)
      else
        add("    return { redirect = %s, status = %d }", table.concat(out, " .. ")
          .. ' .. (req.query and "?" .. req.query or "")', status)
      end
      add("  end")
      add("end")
      return true
    end
    local prefix = from:gsub("(.)/$", "%1")
    local bare = prefix == "/" and "" or prefix
    local starts = quote("^" .. (bare .. "/"):gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0"))
    add("if %spath:find(%s)%s then -- %s (%s)", prefix == "/" and ""
      or ("(path == %s or "):format(quote(prefix)), starts,
      prefix == "/" and "" or ")", node.shown .. " " .. node.text:gsub("%c", " "),
        node.where:match("[^/]*$"))
    if status >= 400 or not to then
      add("  return { status = %d }", status >= 400 and status or 404)
    else
      local cut = #from + 1
      add("  return { redirect = %s .. rewrite.escape(path:sub(%d))"
        .. " .. (req.query and \"?\" .. req.query or \"\"), status = %d }", quote(to), cut, status)
    end
    add("end")
    return true
  end
end
S.redirect, S.redirectmatch, S.redirectpermanent = redirect(false), redirect(true), redirect(false)

S.setenv = function(_, ctx, node)
  local name, value = node.args[1], node.args[2] or ""
  if not name or name:find("^proxy%-") or name:find("^no%-") or name:find("^force%-") then
    return name ~= nil
  end
  ctx.params[name] = value
  return name:find("^[%a_][%w_]*$") ~= nil
end
S.proxyfcgisetenvif = function(_, ctx, node)
  local test, name, value = node.args[1], node.args[2], node.args[3]
  if test ~= "true" or not name or name:sub(1, 1) == "!" or not value or value:find("[%%$]") then
    return false
  end
  ctx.params[name] = value
  return true
end
S.setenvif = function(_, _, node)
  local name, regex = (node.args[1] or ""):lower(), node.args[2] or ""
  -- Which files are compressed is said by their types here.
  return name == "authorization" or name == "request_uri" and regex:find("^\\%..*%$$")
    and responses.is_about_filters(node.args, 3) or false
end
S.setenvifnocase = S.setenvif
S.browsermatch = function(_, _, node)
  return responses.is_about_filters(node.args, 2)
end
S.browsermatchnocase = S.browsermatch
S.proxyerroroverride = function(_, ctx, node)
  if (node.args[1] or ""):lower() ~= "on" then
    return (node.args[1] or ""):lower() == "off"
  end
  local list = {}
  for i = 2, #node.args do
    list[#list + 1] = tonumber(node.args[i])
  end
  ctx.values.intercept_errors = #list > 0 and list or true
  return true
end
local function seconds(...)
  local keys = { ... }
  return function(_, ctx, node)
    local number = tonumber(node.args[1])
    if not number then
      return false
    end
    for _, key in ipairs(keys) do
      ctx.values[key] = number
    end
    return true
  end
end
S.proxytimeout = seconds("read_timeout", "send_timeout")
S.timeout = function(_, ctx, node)
  ctx.values.read_timeout = ctx.values.read_timeout or tonumber(node.args[1])
  return tonumber(node.args[1]) ~= nil
end
S.limitrequestbody = function(_, ctx, node)
  local number = tonumber(node.args[1])
  ctx.values.body_limit = number and number > 0 and number or nil
  return number ~= nil
end
local function of_limits(key)
  return function(self, ctx, node)
    local number = tonumber(node.args[1])
    if not number or number == 0 or rawget(ctx, "section") or not self.is_main then
      return false
    end
    self.model.limits[key] = number
    return true
  end
end
S.keepalivetimeout, S.maxkeepaliverequests = of_limits("keepalive_timeout"),
  of_limits("keepalive_requests")
S.limitrequestline, S.limitrequestfields = of_limits("request_line"), of_limits("headers")
S.limitrequestfieldsize = of_limits("header")
S.remoteipheader = function(_, _, node)
  return (node.args[1] or ""):lower() == "x-forwarded-for"
end
local function trusted(self, _, node)
  self.model.trusted = self.model.trusted or {}
  return addresses(self.model.trusted, node.args, 1)
end
S.remoteiptrustedproxy, S.remoteipinternalproxy = trusted, trusted
S.options = function(_, _, node)
  for _, word in ipairs(node.args) do
    if word:find("^%+?[IE]") and not word:find("^%-") or word == "All" or word == "+All" then
      return false
    end
  end
  return true
end
S.sslengine = function(self, _, node)
  if (node.args[1] or ""):lower() == "on" then
    self.server.tls = true
  end
  return false
end

for name, reader in pairs(responses.READERS) do
  S[name] = reader
end

--- One directive in a section, or the server.
function M.read(self, ctx, node, test)
  local directive = { name = node.shown, args = { node.text }, where = node.where }
  local known = S[node.name]
  if node.name == "addtype" and (node.args[1] or ""):find("httpd%-.*php") then
    self.wants_php = not next(self.model.externals)
  end
  local section = rawget(ctx, "section")
  self.owners = self.owners or setmetatable({}, { __mode = "k" })
  if known and known(self, ctx, node, test) then
    self.model.translated = self.model.translated + 1
  elseif known then
    self.model:note(self.notes, directive, Model.reason(WHY, node.name))
  elseif IDLE[node.name] then
    self.model:idle({ name = node.shown })
  else
    self.model:note(self.notes, directive, Model.reason(WHY, node.name))
  end
  return section
end

--- <If "%{REQUEST_FILENAME} =~ /\.php$/ ..."> with a handler in it. True where it is that.
function M.php_if(self, node, ctx)
  if not node.text:find("php", 1, true) or #node.block ~= 1
    or node.block[1].name ~= "sethandler" then
    return false
  end
  local backend = proxy.target(self.model, node.block[1].args[1] or "")
  if backend then
    ctx.php = { backend = backend }
  end
  return backend ~= nil
end

return M
