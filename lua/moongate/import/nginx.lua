-- moongate.import.nginx owns what nginx's directives mean: from their tree to a model of the route.
-- Called by
-- moongate.import.

local Model = require("moongate.import.model")
local handlers = require("moongate.import.nginx_handlers")
local pattern = require("moongate.import.pattern")
local responses = require("moongate.import.nginx_responses")
local settings = require("moongate.import.nginx_settings")
local syntax = require("moongate.import.nginx_syntax")
local values = require("moongate.import.nginx_values")
local writer = require("moongate.import.writer")

local M = {}

local quote = pattern.quote
local add = writer.add

-- A server on its way ----------------------------------------------------------------------------

-- A path as a Lua pattern, from the start on.
local function starts_with(text)
  return ("path:find(%s)"):format(quote("^" .. text:gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0")))
end

local function uses_captures(directives)
  for _, directive in ipairs(directives or {}) do
    for _, arg in ipairs(directive.args) do
      if arg:find("%$%d") or arg:find("%${%d") then
        return true
      end
    end
    if uses_captures(directive.block) then
      return true
    end
  end
  return false
end

-- Statements of the rewrite module ---------------------------------------------------------------

-- "/a?b=c" as a path, and what follows as expressions; `keep` adds the request's own query.
local function target(text, scope, keep)
  local path, query = text:match("^([^?]*)%?(.*)$")
  path = path or text
  local path_text = values.expression(path, scope)
  if not path_text then
    return nil
  elseif query == "" then
    return path_text, "nil"
  elseif query and (query == "$args" or query == "$query_string") then
    return path_text, "req.query"
  elseif not query then
    return path_text, "req.query"
  end
  local query_text = values.expression(query, scope)
  if not query_text then
    return nil
  end
  local has_args = query:find("$args", 1, true) or query:find("$query_string", 1, true)
  if keep and not has_args then
    query_text = query_text .. ' .. (req.query and "&" .. req.query or "")'
  end
  return path_text, query_text
end

local function redirect_of(to, status)
  return ("return { redirect = %s, status = %d }"):format(to, status)
end

local statements = {}

-- What nginx's mime.types says of the names that a location with a text has.
local TYPES = { css = "text/css", html = "text/html", js = "application/javascript",
  json = "application/json", svg = "image/svg+xml", txt = "text/plain", xml = "text/xml" }

statements["return"] = function(self, lines, indent, directive, scope)
  local code, text = tonumber(directive.args[1]), directive.args[2]
  if not code then
    code, text = 302, directive.args[1]
  end
  if code >= 301 and code <= 308 and code ~= 304 and text then
    if text:find("%$uri") or text:find("%$document_uri") then
      self.model:trap(directive.where,
        "$uri in a redirect is the decoded path, which can carry line breaks "
        .. "into the header; the route escapes it")
    end
    scope.url = true
    local made = values.expression(text, scope)
    scope.url = nil
    if not made then
      return false
    end
    add(lines, indent, "%s", redirect_of(made, code))
    return true
  elseif code == 444 then
    add(lines, indent, "return { close = true }")
    return true
  end
  if not text then
    add(lines, indent, "return { status = %d }", code)
    return true
  end
  local made = values.expression(text, scope)
  if not made then
    return false
  end
  local extension = scope.location and scope.location.text:match("%.(%w+)%$?$")
  local kind = TYPES[extension] or scope.ctx.default_type or "text/plain"
  add(lines, indent, "return %s", writer.value({
    status = code, headers = { ["Content-Type"] = kind }, body = writer.raw(made),
  }, ("  "):rep(indent + 1)))
  return true
end

-- What goes behind a rewrite, by its flag and whether it stands in a location.
local function go_on(self, lines, indent, flag, scope, path, query)
  self.needs_rewrite = true
  local made = ("rewrite.to(req, %s, %s)"):format(path, query)
  if flag == "last" or (flag == "break" and not scope.location) or (not flag
    and scope.location) then
    add(lines, indent, "return %s.locate(%s)", self.server.id, made)
  else
    add(lines, indent, "req = %s", made)
    if scope.location then
      add(lines, indent, "path = req.path")
    end
  end
end

function statements.rewrite(self, lines, indent, directive, scope)
  local regex, to, flag = unpack(directive.args)
  if not to then
    return false
  end
  local is_redirect = to:find("^https?://") or to:find("^%$scheme") or flag == "redirect"
    or flag == "permanent"
  local captures = to:find("%$%d") ~= nil
  local inner = setmetatable({ captures = captures and "m" or nil, url = is_redirect and true
    or nil },
    { __index = scope })
  local path, query = target(to, inner, true)
  if not path then
    return false
  end
  local at, extra = indent, captures
  if extra then
    local made, matched, ngx = pattern.captures("req.path", regex)
    add(lines, at, "do")
    add(lines, at + 1, "local m = %s", made)
    add(lines, at + 1, "if m%s then", matched)
    at = at + 1
    self.model.needs_ngx = self.model.needs_ngx or ngx
  elseif not (regex == "^" or regex == ".*" or regex == "^.*$" or regex == "."
    or regex == "^(.*)$") then
    add(lines, at, "if %s then", (pattern.test("req.path", regex)))
  else
    add(lines, at, "do")
  end
  if is_redirect then
    local text = path
    if query == "req.query" then
      text = text .. ' .. (req.query and "?" .. req.query or "")'
    elseif query ~= "nil" then
      text = text .. ' .. "?" .. ' .. query
    end
    add(lines, at + 1, "%s", redirect_of(text, flag == "permanent" and 301 or 302))
  else
    go_on(self, lines, at + 1, flag, scope, path, query)
  end
  add(lines, at, "end")
  if extra then
    add(lines, indent, "end")
  end
  return true
end

function statements.set(_, lines, indent, directive, scope)
  local name, value = (directive.args[1] or ""):match("^%$([%a_][%w_]*)$"), directive.args[2]
  local made = name and value and values.expression(value, scope)
  if not made or not scope.variables[name] then
    return false
  end
  add(lines, indent, "%s = %s", values.variable(name), made)
  return true
end

local run_statements

statements["if"] = function(self, lines, indent, directive, scope)
  local args = {}
  for i, arg in ipairs(directive.args) do
    args[i] = arg
  end
  if #args == 0 then
    return false
  end
  args[1] = args[1]:gsub("^%(", "")
  args[#args] = args[#args]:gsub("%)$", "")
  for i = #args, 1, -1 do
    if args[i] == "" and (i == 1 or i == #args) and #args > 1 and not (args[i - 1]
      or ""):find("^!?=$") then
      table.remove(args, i)
    end
  end
  local inner = setmetatable({}, { __index = scope })
  local test, before = values.condition(args, inner, uses_captures(directive.block))
  if not test then
    return false
  end
  local at = indent
  if before then
    add(lines, at, "do")
    add(lines, at + 1, "%s", before)
    at = at + 1
  end
  if test:find("rewrite.", 1, true) then
    self.needs_rewrite_module = true
  end
  add(lines, at, "if %s then", test)
  run_statements(self, lines, at + 1, directive.block, inner)
  if lines[#lines]:find("^%s*if .* then$") then
    lines[#lines] = nil -- nothing of it could be said
    if before then
      lines[#lines], lines[#lines - 1] = nil, nil
    end
    return true
  end
  add(lines, at, "end")
  if before then
    add(lines, indent, "end")
  end
  return true
end

-- The lines of the rewrite module among these directives. True where nothing is reached behind
-- them.
function run_statements(self, lines, indent, directives, scope)
  for _, directive in ipairs(directives) do
    local statement = statements[directive.name]
    if directive.name == "break" and not scope.location then
      self.model.translated = self.model.translated + 1
    elseif statement then
      local size = #lines
      if statement(self, lines, indent, directive, scope) then
        self.model.translated = self.model.translated + 1
      else
        while #lines > size do
          lines[#lines] = nil
        end
        self.model:note(self.server.notes, directive,
          "a variable or a form that the importer does not know")
      end
      if directive.name == "return" and lines[#lines] and #lines > size then
        return true
      end
    elseif scope.inside_if and not settings.is_known(directive.name) then
      self.model:note(self.server.notes, directive, "inside of if")
    end
  end
  return false
end

-- Locations --------------------------------------------------------------------------------------

local function read_location(self, directive, parent, list)
  local modifier, text = directive.args[1], directive.args[2]
  if not text then
    modifier, text = "", modifier or ""
    local kind, rest = text:match("^([=~][*~]?)(/.*)$")
    if kind then
      modifier, text = kind, rest
    elseif text:sub(1, 1) == "@" then
      modifier = "@"
    end
  end
  local ctx = settings.child(parent)
  local location = {
    kind = modifier == "" and "prefix" or modifier, text = text, where = directive.where, ctx = ctx,
    directives = directive.block or {}, parent = parent.location,
  }
  ctx.location = location
  ctx.own_root = nil
  settings.read(self, ctx, location.directives, self.server.notes, function(child)
    if child.name == "location" then
      read_location(self, child, ctx, list)
      return true
    end
    return statements[child.name] ~= nil or child.name == "break"
  end)
  list[#list + 1] = location
  self.model.translated = self.model.translated + 1
end

local RANK = { ["="] = 1, ["^~"] = 2, ["~"] = 3, ["~*"] = 3, prefix = 4 }

-- Where a location is asked: its rank, and the prefix that says which of one rank comes first. A
-- regex within a location with ^~ is asked before that one, among those with ^~.
local function place_of(location)
  local rank, at = RANK[location.kind] or 5, location.parent
  while rank == 3 and at do
    if at.kind == "^~" then
      return RANK["^~"], at.text, true
    end
    at = at.parent
  end
  return rank, location.text, false
end

local function sorted_locations(list)
  local order = {}
  for i, location in ipairs(list) do
    if location.kind ~= "@" then
      order[#order + 1] = location
      location.number = i
    end
  end
  table.sort(order, function(a, b)
    local left, left_text, left_within = place_of(a)
    local right, right_text, right_within = place_of(b)
    if left ~= right then
      return left < right
    elseif left == 3 then
      -- Those within a location are asked before others that stand behind it.
      return a.number < b.number
    elseif #left_text ~= #right_text then
      return #left_text > #right_text
    elseif left_within ~= right_within then
      return left_within
    end
    return a.number < b.number
  end)
  return order
end

-- The test for a location; nil for one that all paths fit.
local function test_of(self, location, order)
  local test
  if location.kind == "=" then
    test = "path == " .. quote(location.text)
  elseif location.kind == "prefix" or location.kind == "^~" then
    if location.text == "/" then
      test = nil
    else
      test = starts_with(location.text)
    end
    if location.kind == "^~" then
      test = test or "true"
      for _, other in ipairs(order) do
        if other.kind == "prefix" and #other.text > #location.text
          and other.text:sub(1, #location.text) == location.text then
          test = test .. " and not " .. starts_with(other.text)
        end
      end
    end
  else
    local nocase = location.kind == "~*"
    local ngx
    local regex = location.text:gsub("%(%?<[%w_]+>", "(")
    test, ngx = pattern.test("path", regex, nocase)
    self.model.needs_ngx = self.model.needs_ngx or ngx
  end
  local parent = location.parent
  if parent and parent.text ~= "/" and test and (parent.kind == "prefix" or parent.kind == "^~")
    and RANK[location.kind] == 3 then
    test = starts_with(parent.text) .. " and " .. test
  end
  return test
end

local function write_location(self, lines, indent, location)
  local ctx, size = location.ctx, #lines
  local scope = setmetatable({
    ctx = ctx, location = location, root = ctx.root, variables = self.variables,
  }, { __index = self.scope })
  if handlers.guards(self, lines, indent, ctx) then
    return true
  end
  if RANK[location.kind] == 3 and uses_captures(location.directives) then
    local made, _, ngx = pattern.captures("path", location.text:gsub("%(%?<[%w_]+>", "("),
      location.kind == "~*")
    add(lines, indent, "local c = %s", made)
    scope.captures = "c"
    self.model.needs_ngx = self.model.needs_ngx or ngx
  end
  local ended = run_statements(self, lines, indent, location.directives, scope)
  if not ended then
    handlers.content(self, lines, indent, location, scope)
  end
  return #lines > size
end

local function write_locate(self, list)
  local lines, order = {}, sorted_locations(list)
  local open = true
  for _, location in ipairs(order) do
    local test = test_of(self, location, order)
    if open and test then
      add(lines, 1, "if %s then -- location %s (%s)", test, writer.comment(
        (location.kind == "prefix" and "" or location.kind .. " ") .. location.text),
        location.where:match("[^/]*$"))
      write_location(self, lines, 2, location)
      add(lines, 1, "end")
    elseif open then
      add(lines, 1, "-- location %s (%s)", location.text, location.where:match("[^/]*$"))
      write_location(self, lines, 1, location)
      open = false
    end
  end
  if open then
    local location = { kind = "prefix", text = "/", where = self.server.where, ctx = self.ctx,
      directives = {} }
    write_location(self, lines, 1, location)
  end
  return lines
end

-- Servers ----------------------------------------------------------------------------------------

local function read_listen(self, directive)
  local text = directive.args[1] or ""
  local flags = {}
  for i = 2, #directive.args do
    flags[directive.args[i]] = true
  end
  local server = self.server
  local port = tonumber(text:match(":(%d+)$") or text:match("^(%d+)$")) or 80
  if text:find("^unix:") then
    port = nil
  end
  if flags.default_server or flags.default then
    server.is_default = true
  end
  if flags.ssl or port == 443 then
    server.tls = true
    self.model:note(server.notes, directive,
      "TLS ends in a proxy in front: trusted_proxies, docs/behind-a-proxy.md")
    return
  end
  local address
  if text:find("^unix:") then
    address = text
  elseif text:find("^%d+$") then
    address = "0.0.0.0:" .. text
  elseif text:find("^%*:") then
    address = "0.0.0.0" .. text:sub(2)
  else
    address = text:find(":%d+$") and text or text .. ":80"
  end
  server.port = server.port or port
  if #self.model.listen < 64 and not self.model.listening[address] then
    self.model.listening[address] = true
    table.insert(self.model.listen, flags.proxy_protocol and { address = address,
      proxy_protocol = true } or address)
  end
  self.model.translated = self.model.translated + 1
end

local function scan(directives, self)
  for _, directive in ipairs(directives) do
    if directive.name == "rewrite" then
      local to, flag = directive.args[2] or "", directive.args[3]
      if not (to:find("^https?://") or to:find("^%$scheme") or flag == "redirect"
        or flag == "permanent") then
        self.rewrites = true
      end
    elseif directive.name == "try_files" then
      local last = directive.args[#directive.args] or ""
      if handlers.changes_query(last) then
        self.rewrites = true
      end
    end
    scan(directive.block or {}, self)
  end
end

-- nginx runs the `set` of a server once more when try_files goes on to another path, so that what a
-- location has set is lost.
local function look_for_lost(self, block, of_server)
  local own, goes_on = {}, false
  for _, directive in ipairs(block) do
    local last = directive.args[#directive.args] or ""
    goes_on = goes_on or directive.name == "try_files" and not last:find("^[@=]")
    if directive.name == "set" or directive.name == "if" then
      values.set_names({ directive }, own)
    elseif directive.name == "location" then
      look_for_lost(self, directive.block or {}, of_server)
    end
  end
  for name, where in pairs(goes_on and own or {}) do
    if of_server[name] then
      self.model:trap(where, ("set $%s: nginx sets it for the server again (%s) when try_files "
        .. "goes on to another path; here it keeps this value"):format(name, of_server[name]))
    end
  end
end

-- The variables that the server itself sets, in locations that they are set in again.
local function look_for_all_lost(self, block)
  local of_server = {}
  for _, directive in ipairs(block) do
    if directive.name ~= "location" then
      values.set_names({ directive }, of_server)
    end
  end
  for _, directive in ipairs(block) do
    if directive.name == "location" then
      look_for_lost(self, directive.block or {}, of_server)
    end
  end
end

local function read_names(self, directive)
  for _, name in ipairs(directive.args) do
    if name == "_" or name == "" then
      self.server.is_default = self.server.is_default or name == "_" and #directive.args == 1
        and nil
    elseif name:sub(1, 1) == "~" or name:find("%*.") and name:sub(1, 2) ~= "*." then
      self.model:note(self.server.notes, { name = "server_name", args = { name },
        where = directive.where },
        "hosts are exact, or \"*.\" and a host")
    elseif name:sub(1, 1) == "." then
      table.insert(self.server.hosts, name:sub(2))
      table.insert(self.server.hosts, "*" .. name)
    elseif name:find("^[%w*][%w._-]*$") or name:find("^%*%.[%w._-]+$") then
      table.insert(self.server.hosts, name:lower())
    else
      self.model:note(self.server.notes, { name = "server_name", args = { name },
        where = directive.where })
    end
  end
  self.model.translated = self.model.translated + 1
end

--- `alone`: what is compressed in it is what is compressed in the route.
local function read_server(model, http, directive, alone)
  local server = { hosts = {}, fields = {}, notes = {}, where = directive.where, body = {} }
  local self = {
    model = model, server = server, names = {}, texts = {}, named = {},
    scope = { constants = {} },
  }
  for _, child in ipairs(directive.block or {}) do
    if child.name == "server_name" then
      read_names(self, child)
    end
  end
  server.id = model:identifier(server.hosts[1])
  server.title = "server " .. (server.hosts[1] and table.concat(server.hosts, " ")
    or "without a name")
  self.scope.constants.server_name = server.hosts[1] or ""
  local ctx = settings.child(http)
  self.ctx = ctx
  scan(directive.block or {}, self)
  self.variables = values.set_names(directive.block or {}, {})
  local locations, has_listen = {}, false
  settings.read(self, ctx, directive.block or {}, server.notes, function(child)
    if child.name == "location" then
      return true
    elseif child.name == "listen" then
      read_listen(self, child)
      has_listen = true
      return true
    end
    return child.name == "server_name" or statements[child.name] ~= nil or child.name == "break"
  end)
  if alone and not model.compress and #model.servers == 0 then
    model:take_compression(responses.compressed(ctx), directive.where)
  end
  if not has_listen then
    read_listen(self, { name = "listen", args = { "80" }, where = directive.where })
  end
  for _, child in ipairs(directive.block or {}) do
    if child.name == "location" then
      read_location(self, child, ctx, locations)
    end
  end
  look_for_all_lost(self, directive.block or {})
  self.scope.constants.document_root = ctx.root
  self.backend = handlers.backend_of(self, locations)
  for _, location in ipairs(locations) do
    if location.kind == "@" then
      self.named[location.text] = location
    end
  end
  handlers.internal(self, locations)
  -- The server's own statements, then the locations.
  local body = server.body
  for name in pairs(self.variables) do
    self.sorted = self.sorted or {}
    table.insert(self.sorted, name)
  end
  table.sort(self.sorted or {})
  local scope = setmetatable({ ctx = ctx, root = ctx.root, variables = self.variables },
    { __index = self.scope })
  local ended = run_statements(self, body, 0, directive.block or {}, scope)
  if not ended then
    local locate = write_locate(self, locations)
    local head = { "  local path = req.path" }
    if self.needs_rewrite or self.rewrites then
      table.insert(server.fields, "")
      table.insert(server.fields, ("function %s.locate(req)"):format(server.id))
      for _, lines in ipairs({ head, locate }) do
        for _, line in ipairs(lines) do
          table.insert(server.fields, line)
        end
      end
      table.insert(server.fields, "end")
      add(body, 0, "return %s.locate(req)", server.id)
    else
      for _, lines in ipairs({ head, locate }) do
        for _, line in ipairs(lines) do
          body[#body + 1] = line:gsub("^  ", "")
        end
      end
    end
  end
  for i = #(self.sorted or {}), 1, -1 do
    table.insert(body, 1, ('%s = ""'):format(values.variable(self.sorted[i])))
  end
  model.servers[#model.servers + 1] = server
end

-- The whole --------------------------------------------------------------------------------------

local function read_upstream(model, directive)
  local name, servers, options = directive.args[1] or "app", {}, {}
  for _, child in ipairs(directive.block or {}) do
    model.translated = model.translated + 1
    if child.name == "server" then
      local address = Model.address(child.args[1] or "", 80)
      local server = { address = address }
      for i = 2, #child.args do
        local key, value = child.args[i]:match("^([%w_]+)=?(.*)$")
        if key == "weight" or key == "max_conns" then
          server[key] = tonumber(value)
        elseif key == "max_fails" then
          options.max_fails = tonumber(value)
        elseif key == "fail_timeout" then
          options.fail_timeout = values.time(value)
        elseif key == "backup" then
          server.backup = true
        elseif key == "down" then
          address = nil
        else
          model:note(model.notes, child, key)
        end
      end
      if address then
        servers[#servers + 1] = next(server, next(server)) and server or address
      elseif child.args[2] ~= "down" then
        model:note(model.notes, child)
      end
    elseif child.name == "least_conn" or child.name == "ip_hash" then
      options.balance = child.name
    elseif child.name == "random" then
      options.balance = child.args[1] == "two" and "p2c" or "random"
    elseif child.name == "hash" then
      options.balance = "hash"
      model:note(model.notes, child, "the key is `hash_key` of decisions, by default the path")
    elseif child.name == "keepalive" then
      options.keepalive = tonumber(child.args[1])
      model:trap(child.where,
        "keepalive to PHP-FPM holds one of its processes for each idle connection; "
        .. "keep it below pm.max_children, or leave it out")
    elseif child.name == "keepalive_timeout" then
      options.keepalive_idle = values.time(child.args[1] or "")
    elseif child.name == "keepalive_requests" then
      options.keepalive_requests = tonumber(child.args[1])
    elseif child.name ~= "zone" then
      model.translated = model.translated - 1
      model:note(model.notes, child)
    end
  end
  if #servers > 0 then
    model.upstreams[name] = model:group(name, servers, options)
  end
end

local function read_http(model, http, directives)
  local self = { model = model }
  settings.read(self, http, directives, model.notes, function(directive)
    if directive.name == "upstream" then
      read_upstream(model, directive)
      return true
    end
    return directive.name == "server"
  end)
  local servers = {}
  for _, directive in ipairs(directives) do
    servers[#servers + 1] = directive.name == "server" and directive or nil
  end
  if directives[1] then
    model:take_compression(responses.compressed(http), directives[1].where)
  end
  for _, directive in ipairs(servers) do
    read_server(model, http, directive, #servers == 1)
  end
end

--- The model of a route from these files.
---@param paths string[]
---@param opened moongate.import.Files
---@return table model
function M.model(paths, opened)
  local model = Model.new("nginx")
  model.upstreams, model.listening = {}, {}
  local http = settings.root(opened)
  local loose, all = {}, {}
  for _, path in ipairs(paths) do
    all[#all + 1] = { name = "", args = {}, block = syntax.read(path, opened) }
  end
  model.set = values.set_names(all, {})
  for _, file in ipairs(all) do
    for _, directive in ipairs(file.block) do
      if directive.name == "http" then
        read_http(model, http, directive.block or {})
      elseif settings.is_main(directive.name) then
        model.translated = model.translated + 1
      else
        loose[#loose + 1] = directive -- a file of sites-enabled, or a part of one
      end
    end
  end
  local has_server = false
  for _, directive in ipairs(loose) do
    has_server = has_server or directive.name == "server" or directive.name == "upstream"
  end
  if #loose > 0 and not has_server then
    loose = { { name = "server", args = {}, where = loose[1].where, block = loose } }
  end
  read_http(model, http, loose)
  if #model.servers == 0 then
    require("moongate.import.files").fail(paths[1], "there is no server in it")
  end
  settings.finish(model, http)
  return model
end

return M
