-- moongate.import.nginx_handlers owns what answers in a location: PHP, files, guards and limits, as
-- lines of Lua.
-- Called by moongate.import.nginx.

local Model = require("moongate.import.model")
local pattern = require("moongate.import.pattern")
local responses = require("moongate.import.nginx_responses")
local values = require("moongate.import.nginx_values")
local writer = require("moongate.import.writer")

local field = Model.field

local M = {}

local add, refuse = writer.add, writer.refuse

-- The query of a try_files' last element: does PHP get another one than the request's?
function M.changes_query(text)
  local query = text:match("%?(.*)$")
  return query ~= nil and query ~= "$args" and query ~= "$query_string"
end

-- "/index.php?$args" and its kin: the path alone.
local function plain_target(text)
  return (text:gsub("%?.*$", ""):gsub("%$is_args.*$", ""))
end

-- Headers ----------------------------------------------------------------------------------------

local function headers_of(self, ctx)
  local headers, cache, any = {}, ctx.expires or nil, false
  for _, directive in ipairs(ctx.headers) do
    local name, value = directive.args[1], directive.args[2]
    local _, constant = values.expression(value, self.scope)
    if value == "$upstream_cache_status" then
      constant = "" -- X-Cache is there by itself
    end
    if not constant then
      if not directive.noted then
        directive.noted = true
        self.model:note(self.server.notes, directive,
          "a header of variables: a function for `headers`")
      end
    elseif constant ~= "" and name:lower() == "cache-control" then
      cache = cache and cache .. ", " .. constant or constant
    elseif constant ~= "" then
      headers[name], any = constant, true
    end
  end
  return any and headers or nil, cache
end

-- PHP --------------------------------------------------------------------------------------------

--- The backend of a fastcgi_pass.
local function backend_of(self, directive)
  local text = directive.args[1]
  if self.model.upstreams[text] then
    return self.model.upstreams[text]
  end
  local address = not text:find("$", 1, true) and Model.address(text, text:find("^unix:") and nil
    or nil)
  if not address then
    if not directive.noted then
      directive.noted = true
      self.model:note(self.server.notes, directive, "no address; choose the backend in a function")
    end
    return nil
  end
  return self.model:backend(address)
end

--- The backend that runs scripts of this server, for sites.
function M.backend_of(self, locations)
  for _, location in ipairs(locations) do
    if location.ctx.pass then
      local name = backend_of(self, location.ctx.pass)
      if name then
        return name, location
      end
    end
  end
  return nil
end

local STANDARD = {
  QUERY_STRING = "$query_string", REQUEST_METHOD = "$request_method",
    CONTENT_TYPE = "$content_type",
  CONTENT_LENGTH = "$content_length", SCRIPT_NAME = "$fastcgi_script_name",
    REQUEST_URI = "$request_uri",
  DOCUMENT_URI = "$document_uri", DOCUMENT_ROOT = "$document_root",
    SERVER_PROTOCOL = "$server_protocol",
  REQUEST_SCHEME = "$scheme", GATEWAY_INTERFACE = "CGI/1.1", REMOTE_ADDR = "$remote_addr",
  REMOTE_PORT = "$remote_port", SERVER_ADDR = "$server_addr", SERVER_PORT = "$server_port",
  REDIRECT_STATUS = "200", PATH_INFO = "$fastcgi_path_info", HTTP_PROXY = "",
    REMOTE_USER = "$remote_user",
}
local ALSO = {
  HTTPS = { ["$https if_not_empty"] = true, ["$https"] = true },
    SERVER_NAME = { ["$server_name"] = true, ["$host"] = true },
  QUERY_STRING = { ["$args"] = true, ["$is_args$args"] = true },
    DOCUMENT_ROOT = { ["$realpath_root"] = true },
  PATH_INFO = { ["$path_info"] = true }, REDIRECT_STATUS = { ["CGI"] = true },
  SERVER_SOFTWARE = { ["nginx/$nginx_version"] = true, ["nginx"] = true },
  DOCUMENT_URI = { ["$uri"] = true }, SCRIPT_NAME = { ["$uri"] = true },
}

-- SCRIPT_FILENAME as keys of the decision. True where it is understood.
local function read_script(d, text, root)
  local rest = text:gsub("%${", "$"):gsub("}", "")
  local tail = rest:match("^%$document_root(.*)$") or rest:match("^%$realpath_root(.*)$")
  if rest == "$request_filename" or tail == "$fastcgi_script_name"
    or tail == "/$fastcgi_script_name"
    or tail == "$uri" then
    return true
  elseif tail and tail:find("^/") and not tail:find("$", 1, true) then
    d.script = tail
    return true
  end
  local before = rest:match("^(/[^$]*)/?%$fastcgi_script_name$")
  if before then
    d.docroot = (before:gsub("(.)/$", "%1"))
    return true
  elseif rest:find("^/") and not rest:find("$", 1, true) then
    if root and rest:sub(1, #root + 1) == root .. "/" then
      d.script = rest:sub(#root + 1)
    else
      d.script_filename = rest
    end
    return true
  end
  return false
end

-- A table whose values are texts of Lua about `req`, as a function; and the table again, for a
-- decision that is made for each request.
local function function_of(value)
  return writer.raw("function(req)\n  return " .. writer.value(value, "  ") .. "\nend")
end

local function is_function(value)
  return getmetatable(value) == writer and value.raw:find("^function") ~= nil
end

local function unwrapped(value)
  return is_function(value)
    and writer.raw((value.raw:match("return (.*)\nend$"):gsub("\n  ", "\n"))) or value
end

local function params_of(self, ctx, d, scope, location)
  local params, dynamic, has_script, any = {}, false, false, false
  local strip_script
  for _, directive in ipairs(ctx.params) do
    local name, value, condition = unpack(directive.args)
    local also = ALSO[name] and (ALSO[name][value] or condition and ALSO[name][value .. " "
      .. condition])
    local understood = true
    if name == "SCRIPT_FILENAME" then
      has_script = true
      understood = read_script(d, value, ctx.alias or ctx.root)
    elseif name == "PATH_TRANSLATED" then
      self.model:trap(directive.where,
        "PATH_TRANSLATED can make PHP run another file than SCRIPT_FILENAME; Moongate sends "
        .. "none to PHP")
    elseif name == "PHP_VALUE" or name == "PHP_ADMIN_VALUE" then
      understood = false
      self.model:trap(directive.where, name
        .. " stays in PHP-FPM's process for later requests of other sites; name the "
        .. "settings in the backend's `ini` and in the decision's `ini`, or in PHP-FPM's pool")
    elseif STANDARD[name] == value or also then
      understood = true
    elseif name == "DOCUMENT_ROOT" and value:find("^/") and not value:find("$", 1, true) then
      d.docroot = value:gsub("(.)/$", "%1")
    else
      if name == "HTTPS" and value == "on" then
        self.model:trap(directive.where,
          "HTTPS is always on for the application; trusted_proxies lets a proxy in "
          .. "front say it for each request")
      elseif name == "SCRIPT_NAME" and not d.script and value:find("^/[^$]*$") then
        strip_script = value
      end
      local made, constant = values.expression(value, scope)
      if not made then
        understood = false
      elseif constant then
        params[name], any = constant, true
      else
        params[name], dynamic, any = writer.raw(made), true, true
      end
    end
    if not understood and not directive.noted then
      directive.noted = true
      self.model:note(self.server.notes, directive)
    end
  end
  if not has_script and location.ctx.pass and not self.warned_script then
    self.warned_script = true
    self.model:trap(location.ctx.pass.where,
      "no SCRIPT_FILENAME is sent here: PHP-FPM would answer an empty page; "
      .. "Moongate sends it always")
  end
  if strip_script then
    d.script = strip_script
  end
  if self.rewrites or self.needs_rewrite then
    params.QUERY_STRING, dynamic, any = writer.raw('req.query or ""'), true, true
  end
  if dynamic then
    return function_of(params)
  end
  return any and params or nil
end

local VALUES = {
  "body_limit", "read_timeout", "send_timeout", "connect_timeout", "response_buffering",
    "request_buffering",
  "intercept_errors", "attempts",
}

-- The folder of a location, and the prefix that is taken off.
local function folder_of(location)
  local ctx = location.ctx
  local from = location
  while from do
    local alias = from.ctx and rawget(from.ctx, "alias")
    if alias and (from.kind == "prefix" or from.kind == "^~") then
      local strip = from.text:gsub("/$", "")
      return alias, strip ~= "" and strip or nil
    elseif alias then
      return alias, nil, from
    end
    from = from.parent
  end
  return ctx.root, nil
end

-- What all decisions for PHP of this location have.
local function php_keys(self, location, scope, backend)
  local ctx, d = location.ctx, { backend = backend }
  d.root, d.strip = folder_of(location)
  local params = params_of(self, ctx, d, scope, location)
  d.params = params
  for _, key in ipairs(VALUES) do
    if ctx.value_keys[key] then
      d[key] = ctx.values[key]
    end
  end
  d.headers = headers_of(self, ctx)
  d.internal = self.internal
  d.compress = responses.compression(self.model, ctx)
  local cache, dynamic = responses.cache(self, ctx, scope)
  d.cache = dynamic and function_of(cache) or cache
  return d
end

-- The location that has the server's scripts: its params, time-outs and headers are those of
-- indexes, too.
local function script_location(locations)
  for _, location in ipairs(locations) do
    if location.ctx.pass and (location.kind == "~" or location.kind == "~*") then
      return location
    end
  end
  for _, location in ipairs(locations) do
    if location.ctx.pass then
      return location
    end
  end
  return nil
end

local function errors_of(location, d)
  local ctx, errors, any = location.ctx, {}, false
  for status = 400, 599 do
    local page = ctx.errors[status]
    if page and not page:find("%.php$") then
      errors[status], any = page, true
    end
  end
  if any then
    d.not_found, errors[404] = errors[404], nil
    d.errors = next(errors) and errors or nil
  end
  return any
end

local function note_error_scripts(self, location)
  for _, page in pairs({ location.ctx.errors[404] }) do
    if page:find("%.php$") and not self.noted_errors then
      self.noted_errors = true
      self.model:note(self.server.notes, { name = "error_page", args = { page },
        where = location.where },
        "a script as error page: errors = { [404] = { backend =, root =, script = } }")
    end
  end
end

--- A site for this location. `try` is its list.
local function site(self, location, scope, try, name)
  local source = location.ctx.pass and location or script_location(self.locations)
  local keys = php_keys(self, source, scope, self.backend_for or self.backend)
  if source ~= location then
    keys.root, keys.strip = folder_of(location)
    local docroot = keys.docroot
    if docroot and source.ctx.root ~= keys.root then
      keys.docroot = nil
    end
    keys.script = nil
  end
  local ctx = location.ctx
  keys.index, keys.try = { unpack(ctx.index) }, try
  if #keys.index == 2 and keys.index[1] == "index.php" and keys.index[2] == "index.html" then
    keys.index = nil
  end
  local own, cache = headers_of(self, ctx)
  keys.headers = own
  local compress
  if source ~= location then
    compress = responses.compression(self.model, ctx, source.ctx)
  end
  if cache or ctx.precompressed or compress ~= nil then
    keys.static = {
      cache_control = cache, precompressed = ctx.precompressed or nil, compress = compress,
    }
  end
  keys.script, keys.script_filename = nil, nil
  local first, second, last = keys.try[1], keys.try[2], keys.try[3]
  if first == "$path" and second == "$path/" and #keys.try <= 3 then
    if type(last) == "string" then
      keys.try, keys.front = nil, last
    elseif last == nil or last == 404 then
      keys.try = nil
    end
  end
  errors_of(location, keys)
  note_error_scripts(self, location)
  for i = #(keys.index or {}), 1, -1 do
    if keys.index[i]:find("[/$]") then
      table.remove(keys.index, i)
    end
  end
  return field(self, name or "site", "php.site " .. writer.value(keys))
end

-- try_files --------------------------------------------------------------------------------------

-- Its elements but the last, as `try` has them; nil where one has another form.
local function try_list(directive)
  local list = {}
  for i = 1, #directive.args - 1 do
    local text = directive.args[i]:gsub("%$fastcgi_script_name", "$uri"):gsub("%$document_uri",
      "$uri")
      :gsub("%${uri}", "$uri")
    local suffix = text:match("^%$uri(.*)$")
    if suffix and not suffix:find("$", 1, true) then
      list[#list + 1] = "$path" .. suffix
    elseif text:find("^/") and not text:find("$", 1, true) then
      list[#list + 1] = text
    elseif text ~= "" then
      return nil
    end
  end
  return list
end

local function static_decision(self, ctx, root, strip, try)
  local d = { root = root, try = try, index = ctx.index }
  if #ctx.index == 1 and ctx.index[1] == "index.html" then
    d.index = nil
  end
  local headers, cache = headers_of(self, ctx)
  d.headers, d.cache_control = headers, cache
  d.precompressed, d.compress = ctx.precompressed or nil, responses.compression(self.model, ctx)
  if strip then
    d.path = writer.raw(("path:sub(%d)"):format(#strip + 1))
    d.try = nil
  elseif self.rewrites or self.needs_rewrite then
    d.path = writer.raw("path")
  end
  return d, strip ~= nil or d.path ~= nil
end

local function return_decision(self, lines, indent, name, d, inline)
  if inline then
    add(lines, indent, "return %s", writer.value(d, ("  "):rep(indent)))
  else
    add(lines, indent, "return %s", field(self, name, writer.value(d)))
  end
end

-- Can a path that comes here name a folder?
local function may_be_folder(location)
  if location.kind == "=" then
    return location.text:sub(-1) == "/"
  elseif location.kind == "~" or location.kind == "~*" then
    return not (location.text:find("%$$") and location.text:find("\\.", 1, true))
  end
  return true
end

local function has_php_index(ctx)
  for _, name in ipairs(ctx.index) do
    if name:find("%.php$") then
      return true
    end
  end
  return false
end

-- Files, with or without try_files.
local function write_files(self, lines, indent, location, scope)
  local ctx, try = location.ctx, location.ctx.try
  local list, last = { "$path", "$path/" }, "=404"
  if try then
    list, last = try_list(try), try.args[#try.args]
    if not list then
      self.model:note(self.server.notes, try, "only $uri, $uri/ and fixed paths")
      list = { "$path", "$path/" }
    end
  end
  local root, strip, odd = folder_of(location)
  if odd or location.kind == "=" and ctx.alias then
    if location.kind == "=" then
      return_decision(self, lines, indent, "file", { file = ctx.alias, cache_control = (select(2,
        headers_of(self, ctx))),
        headers = (headers_of(self, ctx)) })
      return
    end
    self.model:note(self.server.notes, { name = "alias", args = { ctx.alias_text or "" },
      where = location.where },
      "in a location of a pattern")
    add(lines, indent, "return { status = 404 }")
    return
  end
  local status = tonumber(last:match("^=(%d+)$"))
  local named = self.named[last]
  if self.backend and (has_php_index(ctx) and (may_be_folder(location) or next(ctx.error_codes))
    or try and not status or named) then
    local front = plain_target(last)
    if status then
      list[#list + 1] = status
      add(lines, indent, "return %s(req)", site(self, location, scope, list))
    elseif named or self.rewrites and M.changes_query(last) or front:find("$", 1, true) then
      list[#list + 1] = 404
      add(lines, indent, "local found = %s(req)", site(self, location, scope, list, "files"))
      add(lines, indent, "if found.status ~= 404 then")
      add(lines, indent + 1, "return found")
      add(lines, indent, "end")
      if named then
        add(lines, indent, "-- %s (%s)", last, named.where:match("[^/]*$"))
        local inner = setmetatable({ ctx = named.ctx, location = named }, { __index = scope })
        M.run_named(self, lines, indent, named, inner)
        return
      end
      local path, query = front, last:match("%?(.*)$")
      local path_text = values.expression(path, scope)
      local query_text = query and values.expression(query, scope)
      if not path_text or query and not query_text then
        self.model:note(self.server.notes, try, "a variable that the importer does not know")
        add(lines, indent, "return { status = 404 }")
        return
      end
      self.needs_rewrite = true
      add(lines, indent, "return %s.locate(rewrite.to(req, %s, %s))", self.server.id, path_text,
        query_text or "req.query")
    else
      if strip and front:sub(1, #strip + 1) == strip .. "/" then
        front = front:sub(#strip + 1)
      end
      list[#list + 1] = front
      add(lines, indent, "return %s(req)", site(self, location, scope, list))
    end
    return
  end
  if status and status ~= 404 then
    list[#list + 1] = { status = status }
  elseif not status then
    local path = plain_target(last)
    if path:find("^/[^$]*$") then
      list[#list + 1] = path
    elseif try then
      self.model:note(self.server.notes, try, "its last element")
    end
  end
  if not try then
    list = nil
  end
  local d, inline = static_decision(self, ctx, root, strip, list)
  return_decision(self, lines, indent, "files", d, inline)
end

local function write_php(self, lines, indent, location, scope)
  local ctx, try = location.ctx, location.ctx.try
  local backend = backend_of(self, ctx.pass)
  if not backend then
    add(lines, indent, "return { status = 502 }")
    return
  end
  if location.kind == "prefix" and location.text:find("./$") then
    local bare = location.text:sub(1, -2)
    -- nginx sends /app to /app/; the test for this location has been left behind then.
    self.slashes = self.slashes or {}
    self.slashes[#self.slashes + 1] = bare
  end
  local list = try and try_list(try)
  local last = try and try.args[#try.args] or ""
  local status = tonumber(last:match("^=(%d+)$"))
  self.backend_for = backend
  if try and list and status then
    list[#list + 1] = status
    add(lines, indent, "return %s(req)", site(self, location, scope, list, "scripts"))
  elseif try and list and last:find("^/") and not M.changes_query(last) then
    list[#list + 1] = plain_target(last)
    add(lines, indent, "return %s(req)", site(self, location, scope, list, "scripts"))
  else
    if try and not (list and #list == 1 and self.named[last]) then
      self.model:note(self.server.notes, try)
    end
    local d = php_keys(self, location, scope, backend)
    if not ctx.split and not d.script and location.text:find("php%$$")
      and not self.warned_split then
      self.warned_split = true
    end
    if (self.rewrites or self.needs_rewrite) and not d.script and not d.script_filename then
      d.static = false
      add(lines, indent, "return %s(req)", field(self, "scripts", "php.site " .. writer.value(d)))
    elseif is_function(d.params) or is_function(d.cache) then
      d.params, d.cache = unwrapped(d.params), unwrapped(d.cache)
      return_decision(self, lines, indent, "scripts", d, true)
    else
      return_decision(self, lines, indent, "scripts", d)
    end
  end
  self.backend_for = nil
end

--- What stands in a named location.
function M.run_named(self, lines, indent, location, scope)
  if location.ctx.pass then
    write_php(self, lines, indent, location, scope)
    return
  end
  for _, directive in ipairs(location.directives) do
    if directive.name == "rewrite" then
      local path, query = (directive.args[2] or ""):match("^([^?]*)%??(.*)$")
      local inner = setmetatable({ captures = "m" }, { __index = scope })
      local path_text, query_text = values.expression(path, inner), values.expression(query, inner)
      local made, matched = pattern.captures("req.path", directive.args[1] or "")
      if path_text and query_text then
        self.needs_rewrite = true
        add(lines, indent, "do")
        add(lines, indent + 1, "local m = %s", made)
        add(lines, indent + 1, "if m%s then", matched)
        add(lines, indent + 2, "return %s.locate(rewrite.to(req, %s, %s))", self.server.id,
          path_text,
          query == "" and "req.query" or query_text .. ' .. (req.query and "&" .. req.query or "")')
        add(lines, indent + 1, "end")
        add(lines, indent, "end")
      else
        self.model:note(self.server.notes, directive)
      end
    elseif directive.name == "return" and tonumber(directive.args[1]) then
      add(lines, indent, "do")
      add(lines, indent + 1, "return { status = %d }", tonumber(directive.args[1]))
      add(lines, indent, "end")
    end
  end
  add(lines, indent, "return { status = 404 }")
end

-- Guards -----------------------------------------------------------------------------------------

-- allow and deny: the first that fits counts.
local function access_guard(self, ctx)
  local allow, deny, ended = {}, {}, nil
  for _, rule in ipairs(ctx.access) do
    local kind, what, directive = rule[1], rule[2], rule[3]
    if what == "all" then
      ended = kind
      break
    elseif kind == "allow" then
      allow[#allow + 1] = what
    elseif #allow == 0 then
      deny[#deny + 1] = what
    elseif not directive.noted then
      directive.noted = true
      self.model:note(self.server.notes, directive, "a deny behind an allow")
    end
  end
  if ended == "deny" and #allow == 0 and #deny == 0 then
    return "all"
  elseif ended == "deny" then
    return { allow = allow, deny = #deny > 0 and deny or nil }
  elseif #deny > 0 and #allow == 0 then
    return { deny = deny }
  end
  return nil
end

--- Lines that refuse: addresses, logins, limits, internal locations.
function M.guards(self, lines, indent, ctx)
  if ctx.internal then
    add(lines, indent, "if not req.internal then")
    add(lines, indent + 1, "return { status = 404 }")
    add(lines, indent, "end")
  end
  for _, directive in ipairs(ctx.limits) do
    local zone = (directive.args[1] or ""):match("^zone=(.*)$") or directive.args[1]
    local rate = self.model.zones and self.model.zones[zone]
    local answer = { status = ctx.limit_status or 503 }
    if directive.name == "limit_req" and type(rate) == "string" then
      local burst = 0
      for _, arg in ipairs(directive.args) do
        burst = tonumber(arg:match("^burst=(%d+)$")) or burst
      end
      refuse(lines, indent, field(self, "rate", "limit.rate " .. writer.value({
        name = zone, rate = rate, burst = burst + 1, answer = answer,
      })))
    elseif directive.name == "limit_conn" and rate == true and tonumber(directive.args[2]) then
      refuse(lines, indent, field(self, "places", "limit.concurrency " .. writer.value({
        name = zone, limit = tonumber(directive.args[2]), answer = answer,
      })))
    elseif not directive.noted then
      directive.noted = true
      self.model:note(self.server.notes, directive)
    end
  end
  local addresses = access_guard(self, ctx)
  local login = ctx.realm and ctx.users and ctx.users:find("^/") and { realm = ctx.realm,
    file = ctx.users }
  if ctx.realm and not login and not self.noted_users then
    self.noted_users = true
    self.model:note(self.server.notes, { name = "auth_basic", args = { ctx.realm },
      where = self.server.where },
      "auth_basic_user_file with a path from the root on is missing")
    add(lines, indent, "do return { status = 403 } end")
  end
  if addresses == "all" and not (ctx.satisfy == "any" and login) then
    add(lines, indent, "return { status = 403 }")
    return true
  end
  local by_address = type(addresses) == "table"
    and field(self, "addresses", "auth.addresses " .. writer.value(addresses))
  local by_login = login and field(self, "login", "auth.basic " .. writer.value(login))
  writer.refuse_access(lines, indent, by_address, by_login, ctx.satisfy == "any"
    and function(guard)
      return field(self, "either", guard)
    end)
end

--- Folders that an application may name in X-Accel-Redirect.
function M.internal(self, locations)
  self.locations = locations
  for _, location in ipairs(locations) do
    local ctx = location.ctx
    if ctx.internal and (location.kind == "prefix" or location.kind == "^~") and not ctx.pass
      and location.text:find("./$") then
      local root, strip = folder_of(location)
      self.internal = self.internal or {}
      self.internal[location.text] = strip and root or root .. location.text:gsub("/$", "")
    end
  end
end

--- What answers in a location.
function M.content(self, lines, indent, location, scope)
  local ctx = location.ctx
  if ctx.pass then
    write_php(self, lines, indent, location, scope)
    return
  end
  for _, directive in ipairs(location.directives) do
    if directive.name:find("_pass$") or directive.name:find("^content_by_lua") then
      add(lines, indent, "return { status = 502 } -- %s", writer.comment(directive.name))
      return
    end
  end
  write_files(self, lines, indent, location, scope)
end

return M
