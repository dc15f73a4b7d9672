-- moongate.import.apache owns what Apache's directives mean: from their tree to a model of the
-- route. Called by moongate.import.

local Model = require("moongate.import.model")
local pattern = require("moongate.import.pattern")
local proxy = require("moongate.import.apache_proxy")
local responses = require("moongate.import.apache_responses")
local rewriting = require("moongate.import.apache_rewrite")
local settings = require("moongate.import.apache_settings")
local syntax = require("moongate.import.apache_syntax")
local writer = require("moongate.import.writer")

local field = Model.field

local M = {}

local quote = pattern.quote
local add = writer.add

local function trimmed(path)
  return (path:gsub("//+", "/"):gsub("(.)/$", "%1"))
end

-- Sections ---------------------------------------------------------------------------------------

local NEVER = { ["mod_php.c"] = true, ["mod_php5.c"] = true, ["mod_php7.c"] = true,
  ["php5_module"] = true,
  ["php7_module"] = true, ["php_module"] = true, ["mod_php8.c"] = true }

-- The sections that only say whether what is in them holds.
local function flattened(nodes, out, self)
  for _, node in ipairs(nodes) do
    if node.name == "ifmodule" then
      local name = node.args[1] or ""
      if name:sub(1, 1) == "!" or NEVER[name] then
        self.model:note(self.notes, { name = "<IfModule", args = { name .. ">" },
          where = node.where }, "left out")
      else
        flattened(node.block, out, self)
      end
    elseif node.name == "ifdefine" or node.name == "ifversion" then
      local name = node.args[1] or ""
      if node.name == "ifversion" and (name == ">=" or name == ">") then
        flattened(node.block, out, self)
      else
        self.model:note(self.notes, { name = "<" .. node.shown, args = { node.text .. ">" },
          where = node.where },
          "left out")
      end
    else
      out[#out + 1] = node
    end
  end
  return out
end

-- A path with "*" and "?" of a section as a Lua pattern.
local function wild(text)
  return "^" .. text:gsub("[%^%$%(%)%%%.%+%-%[%]]", "%%%0"):gsub("%*", "[^/]*"):gsub("%?", "[^/]")
    .. "$"
end

local function starts(text)
  return "^" .. text:gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0")
end

-- The URL's prefix of a folder: "/" for the root and what is above it; nil for one that no URL
-- reaches.
local function prefix_of(self, folder)
  folder = trimmed(folder)
  local root = self.root or "/"
  if folder == root or folder == "/" or root:sub(1, #folder + 1) == folder .. "/" then
    return "/"
  elseif folder:sub(1, #root + 1) == root .. "/" then
    return folder:sub(#root + 1) .. "/"
  end
  for _, alias in ipairs(self.aliases) do
    if folder == alias.to then
      return alias.from .. "/"
    elseif folder:sub(1, #alias.to + 1) == alias.to .. "/" then
      return alias.from .. folder:sub(#alias.to + 1) .. "/"
    end
  end
  return nil
end

-- A test in Lua for what a section is about; nil where all requests fit, false where none does.
local function test_of(self, section)
  local kind, text = section.name, section.args[1] or ""
  local regex = kind:find("match$")
  if not regex and text == "~" then
    regex, text = true, section.args[2] or ""
  end
  if kind:find("^files") then
    if regex then
      return (pattern.test("name", text))
    elseif text:find("[*?]") then
      return ("name:find(%s)"):format(quote(wild(text)))
    end
    return "name == " .. quote(text)
  elseif kind:find("^location") then
    if regex then
      return (pattern.test("path", text))
    elseif text == "/" then
      return nil
    elseif text:find("[*?]") then
      return ("path:find(%s)"):format(quote(wild(text)))
    elseif text:sub(-1) == "/" then
      return ("path:find(%s)"):format(quote(starts(text)))
    end
    return ("(path == %s or path:find(%s))"):format(quote(text), quote(starts(text .. "/")))
  elseif regex then
    local root = self.root and "^" .. self.root:gsub("%p", "\\%0")
    if root and text:sub(1, #root) == root then
      return (pattern.test("path", "^" .. text:sub(#root + 1)))
    end
    return false
  end
  local prefix = prefix_of(self, text)
  if prefix == nil then
    return false
  elseif prefix == "/" then
    return nil
  end
  return ("path:find(%s)"):format(quote(starts(prefix)))
end

-- Reads a section's, or the server's, settings: `ctx` has what is of all its requests.
local read_block

local RULES = { rewriterule = true, rewritecond = true, rewriteengine = true, rewritebase = true,
  rewriteoptions = true }

-- Rules with their conditions, of one place.
local function read_rules(self, nodes, place)
  local conditions, rules, on = {}, {}, place.inherited_on
  for _, node in ipairs(nodes) do
    if node.name == "rewriteengine" then
      on = (node.args[1] or ""):lower() == "on"
    elseif node.name == "rewritebase" then
      place.base = (node.args[1] or "/"):gsub("([^/])$", "%1/")
    elseif node.name == "rewritecond" then
      conditions[#conditions + 1] = node
    elseif node.name == "rewriterule" then
      rules[#rules + 1] = { node = node, conditions = conditions }
      conditions = {}
    end
    if RULES[node.name] then
      self.model.translated = self.model.translated + 1
    end
  end
  if on and #rules > 0 then
    place.rules = rules
    self.places[#self.places + 1] = place
  end
end

local SECTIONS = { directory = true, directorymatch = true, files = true, filesmatch = true,
  location = true,
  locationmatch = true }

function read_block(self, nodes, ctx, test, prefix, per_dir)
  local list = flattened(nodes, {}, self)
  local section_ctx = ctx
  for _, node in ipairs(list) do
    if SECTIONS[node.name] then
      local inner = test_of(self, node)
      if inner ~= false then
        local both = test and inner and test .. " and " .. inner or inner or test
        local is_folder = node.name == "directory"
        local own = settings.child(ctx)
        own.section, own.test = node, both
        own.whole = both == nil
        local here = is_folder and prefix_of(self, node.args[1] or "") or prefix
        -- What is of the whole root is the server's own.
        read_block(self, node.block, both == nil and ctx or own, both, here,
          per_dir or is_folder or node.name:find("^location") ~= nil)
        if both ~= nil then
          self.sections[#self.sections + 1] = own
        end
        self.model.translated = self.model.translated + 1
      end
    elseif node.name == "limit" or node.name == "limitexcept" or node.name == "if"
      or node.name == "elseif"
      or node.name == "else" or node.name == "ifmodule" then
      if node.name == "if" and settings.php_if(self, node, ctx) then
        self.model.translated = self.model.translated + 1
      else
        self.model:note(self.notes, { name = "<" .. node.shown, args = { node.text .. ">" },
          where = node.where },
          "a section that the importer does not know")
      end
    elseif node.name == "virtualhost" or node.name == "proxy" then
      self.later[#self.later + 1] = node
    elseif not RULES[node.name] then
      settings.read(self, section_ctx, node, test)
    end
  end
  read_rules(self, list, { per_dir = per_dir and (prefix or "/") or nil, base = per_dir and (prefix
    or "/") or "/",
    where = nodes[1] and nodes[1].where, inherited_on = false })
end

-- Lines of a server ------------------------------------------------------------------------------

-- Who may pass, by the Require lines of one place.
local function write_access(self, lines, indent, ctx)
  local access = rawget(ctx, "access")
  if not access then
    return
  elseif access.denied and not access.allow and not access.login then
    add(lines, indent, "do return { status = 403 } end")
    return
  end
  local by_address = (access.allow or access.deny) and field(self, "addresses",
    "auth.addresses " .. writer.value({ allow = access.allow, deny = access.deny }))
  local by_login
  if access.login then
    if ctx.users then
      by_login = field(self, "login", "auth.basic " .. writer.value({ realm = ctx.realm or "login",
        file = ctx.users }))
    else
      self.model:note(self.notes, access.login,
        "AuthUserFile with a path from the root on is missing")
      add(lines, indent, "do return { status = 403 } end")
      return
    end
  end
  writer.refuse_access(lines, indent, by_address, by_login, not access.all and function(guard)
    return field(self, "either", guard)
  end)
end

local function write_rules(self, lines, per_dir)
  for _, place in ipairs(self.places) do
    if (place.per_dir ~= nil) == per_dir then
      local root = self.root
      for i, rule in ipairs(place.rules) do
        local front, try = rewriting.front(rule, place.base)
        local noted_before = false
        if front and i == #place.rules and place.per_dir == "/" and not self.ctx.front then
          self.ctx.front, self.ctx.try = front, try
        elseif rule.node.args[2] == "-" and rule.node.args[3] and rule.node.args[3]:find("L")
          and not rule.node.args[3]:find("E=") and (rule.node.args[1]
            or ""):find("^%^index\\%.%a+%$$") then
          noted_before = true -- the front controller is a file, which is looked for first
        else
          local scope = { per_dir = place.per_dir, base = place.base, root = root,
            document_root = root,
            model = self.model, server = self, serve = self.server.id .. ".serve" }
          local size = #lines
          add(lines, 0, "-- RewriteRule %s (%s)", writer.comment(rule.node.text),
            rule.node.where:match("[^/]*$"))
          local ok, why = rewriting.write(lines, 0, rule, scope)
          if not ok then
            while #lines > size do
              lines[#lines] = nil
            end
            self.model.translated = self.model.translated - 1
            self.model:note(self.notes, { name = "RewriteRule", args = { rule.node.text },
              where = rule.node.where }, why)
          elseif #lines == size + 1 then
            lines[#lines] = nil
          end
        end
        if noted_before then
          self.ctx.front_script = true
        end
      end
    end
  end
end

-- The keys of a site for a folder.
local function site_keys(self, ctx, root, strip)
  local keys = { root = root, strip = strip, backend = ctx.php and ctx.php.backend }
  if ctx.php then
    keys.docroot = ctx.php.docroot
    keys.scripts = ctx.php.scripts
  end
  keys.index = { unpack(ctx.index) }
  if #keys.index == 2 and keys.index[1] == "index.php" and keys.index[2] == "index.html" then
    keys.index = nil
  end
  if ctx.front then
    local front = ctx.front
    if strip and front:sub(1, #strip + 1) == strip .. "/" then
      front = front:sub(#strip + 1)
    end
    if ctx.try and #ctx.try == 2 then
      keys.try = { "$path", front }
    else
      keys.front = front
    end
  end
  local params = {}
  for name, value in pairs(ctx.params) do
    params[name] = value
  end
  if self.rewrites then
    params.QUERY_STRING = writer.raw('req.query or ""')
    keys.params = writer.raw("function(req)\n  return " .. writer.value(params, "  ") .. "\nend")
  elseif next(params) then
    keys.params = params
  end
  for _, key in ipairs({ "read_timeout", "send_timeout", "connect_timeout", "body_limit",
    "intercept_errors" }) do
    keys[key] = ctx.values[key]
  end
  keys.compress = responses.compression(self.model, ctx)
  keys.headers, keys.always = next(ctx.headers) and ctx.headers or nil, next(ctx.always)
    and ctx.always or nil
  if next(ctx.static) then
    keys.static = ctx.static
  end
  local errors = {}
  for status, page in pairs(ctx.errors) do
    if status == 404 then
      keys.not_found = page
    else
      errors[status] = page
    end
  end
  keys.errors = next(errors) and errors or nil
  return keys
end

-- Files alone, where no PHP is.
local function file_keys(self, ctx, root, strip)
  local d = { root = root, headers = next(ctx.headers) and ctx.headers or nil,
    always = next(ctx.always) and ctx.always
    or nil, cache_control = ctx.static.cache_control,
    compress = responses.compression(self.model, ctx) }
  d.index = { unpack(ctx.index) }
  if #d.index == 1 and d.index[1] == "index.html" then
    d.index = nil
  end
  if ctx.front then
    d.try = ctx.try and #ctx.try == 2 and ctx.try or { "$path", "$path/", ctx.front }
  end
  if strip then
    d.path = writer.raw(("req.path:sub(%d)"):format(#strip + 1))
  elseif self.rewrites then
    d.path = writer.raw("req.path")
  end
  return d
end

local function write_folder(self, lines, indent, ctx, name, root, strip)
  if ctx.php then
    add(lines, indent, "return %s(req)", field(self, name, "php.site "
      .. writer.value(site_keys(self, ctx, root, strip))))
    return
  end
  local d = file_keys(self, ctx, root, strip)
  if d.path then
    add(lines, indent, "return %s", writer.value(d, ("  "):rep(indent)))
  else
    add(lines, indent, "return %s", field(self, name, writer.value(d)))
  end
end

-- The settings of a folder: those of the server, and of sections that name it.
local function ctx_of_folder(self, folder)
  for _, section in ipairs(self.sections) do
    if section.section.name == "directory" and trimmed(section.section.args[1] or "") == folder then
      return section
    end
  end
  return self.ctx
end

local function write_serve(self)
  local lines = {}
  add(lines, 0, "local path = req.path")
  for _, section in ipairs(self.sections) do
    if section.pass and section.section.name:find("^location") then
      add(lines, 0, "if %s then -- <%s %s>", section.test, section.section.shown,
        writer.comment(section.section.text))
      add(lines, 1, "return %s", field(self, "passed", writer.value(proxy.decision(self,
        section.pass, section))))
      add(lines, 0, "end")
    end
  end
  for _, alias in ipairs(self.aliases) do
    if alias.pattern then
      local made, matched = pattern.captures("path", alias.pattern)
      add(lines, 0, "do")
      add(lines, 1, "local m = %s", made)
      add(lines, 1, "if m%s then", matched)
      add(lines, 2, "return { root = %s, path = \"/\" .. (m[1] or \"\") }", quote(alias.to))
      add(lines, 1, "end")
      add(lines, 0, "end")
    else
      local from = alias.from
      add(lines, 0, "if path == %s or path:find(%s) then", quote(from), quote(starts(from .. "/")))
      if alias.file then
        add(lines, 1, "return { file = %s }", quote(alias.to))
      else
        write_folder(self, lines, 1, ctx_of_folder(self, alias.to), from:match("([%w_]+)$") and
          "alias_" .. from:match("([%w_]+)$") or "alias", alias.to, from)
      end
      add(lines, 0, "end")
    end
  end
  -- Folders below the root with settings of their own.
  for _, section in ipairs(self.sections) do
    local name = section.section.name
    if name == "directory" and section.matters and not rawget(section, "is_alias") then
      local folder = trimmed(section.section.args[1] or "")
      local prefix = prefix_of(self, folder)
      if prefix and folder:sub(1, #(self.root or "/") + 1) == (self.root or "") .. "/" then
        add(lines, 0, "if path:find(%s) then -- <Directory %s>", quote(starts(prefix)),
          writer.comment(folder))
        write_folder(self, lines, 1, section, "folder", self.root, nil)
        add(lines, 0, "end")
      end
    elseif name:find("^location") and section.matters and not section.pass and section.test then
      add(lines, 0, "if %s then -- <%s %s>", section.test, section.section.shown,
        writer.comment(section.section.text))
      write_folder(self, lines, 1, section, "part", self.root or "/nonexistent", nil)
      add(lines, 0, "end")
    end
  end
  if not self.root then
    add(lines, 0, "return { status = 404 }")
  else
    write_folder(self, lines, 0, self.ctx, "site", self.root, nil)
  end
  return lines
end

local function write_server(self)
  local server, body = self.server, self.server.body
  for _, place in ipairs(self.places) do
    for _, rule in ipairs(place.rules) do
      local to = rule.node.args[2] or "-"
      local front = rewriting.front(rule, place.base)
      local flags = rule.node.args[3] or ""
      if to ~= "-" and not front and not flags:find("R") and not to:find("^https?:") then
        self.rewrites = true
      end
    end
  end
  local needs_name = false
  local before, after = {}, {}
  write_rules(self, before, false)
  for _, one in ipairs(self.redirects) do
    before[#before + 1] = one
  end
  proxy.write(self, before)
  local checks = {}
  write_access(self, checks, 0, self.ctx)
  for _, section in ipairs(self.sections) do
    if rawget(section, "access") then
      local inner = {}
      write_access(self, inner, 1, section)
      if #inner > 0 then
        needs_name = needs_name or section.test:find("name", 1, true) ~= nil
        add(checks, 0, "if %s then -- <%s %s>", section.test, section.section.shown,
          writer.comment(section.section.text))
        for _, line in ipairs(inner) do
          checks[#checks + 1] = line
        end
        add(checks, 0, "end")
      end
    end
  end
  write_rules(self, after, true)
  local serve = write_serve(self)
  local text = table.concat(before, "\n") .. "\n" .. table.concat(checks, "\n")
  if text:find("%f[%w_.]path%f[^%w_]") then
    add(body, 0, "local path = req.path")
  end
  if needs_name then
    if body[1] == nil then
      add(body, 0, "local path = req.path")
    end
    add(body, 0, 'local name = path:match("[^/]*$")')
  end
  for _, lines in ipairs({ before, checks, after }) do
    for _, line in ipairs(lines) do
      body[#body + 1] = line
    end
  end
  local all = table.concat(body, "\n")
  if all:find(server.id .. ".serve", 1, true) then
    table.insert(server.fields, "")
    table.insert(server.fields, ("function %s.serve(req)"):format(server.id))
    for _, line in ipairs(serve) do
      table.insert(server.fields, "  " .. line)
    end
    table.insert(server.fields, "end")
    add(body, 0, "return %s.serve(req)", server.id)
  else
    local own = body[1] == "local path = req.path"
    for i, line in ipairs(serve) do
      if not (i == 1 and own) then
        body[#body + 1] = line
      end
    end
  end
end

-- Servers ----------------------------------------------------------------------------------------

local function new_server(model, parent, where)
  local server = { hosts = {}, fields = {}, notes = {}, where = where, body = {}, id = "" }
  local self = {
    model = model, server = server, notes = server.notes, names = {}, texts = {}, places = {},
      sections = {},
    redirects = {}, passes = {}, aliases = {}, later = {}, ctx = settings.child(parent
      and parent.ctx),
    root = parent and parent.root,
  }
  for _, alias in ipairs(parent and parent.aliases or {}) do
    self.aliases[#self.aliases + 1] = alias
  end
  for _, section in ipairs(parent and parent.sections or {}) do
    self.sections[#self.sections + 1] = section
  end
  return self
end

local function read_names(self, nodes)
  for _, node in ipairs(flattened(nodes, {}, { model = { note = function() end } })) do
    if node.name == "servername" then
      local name, port = (node.args[1] or ""):gsub("^%a+://", ""):match("^([^:]*):?(%d*)$")
      if name and name ~= "" then
        table.insert(self.server.hosts, 1, name:lower())
      end
      self.named_port = tonumber(port)
    elseif node.name == "serveralias" then
      for _, name in ipairs(node.args) do
        if name:find("^%*%.[%w._-]+$") or name:find("^[%w._-]+$") then
          table.insert(self.server.hosts, name:lower())
        else
          self.model:note(self.notes, { name = "ServerAlias", args = { name }, where = node.where },
            "hosts are exact, or \"*.\" and a host")
        end
      end
    elseif node.name == "documentroot" then
      local path = trimmed(node.args[1] or "")
      if path:sub(1, 1) == "/" then
        self.root = path
      end
    elseif node.name == "alias" and node.args[2] then
      local from, to = trimmed(node.args[1]), trimmed(node.args[2])
      if from:sub(1, 1) == "/" and to:sub(1, 1) == "/" then
        table.insert(self.aliases, { from = from, to = to, file = node.args[2]:sub(-1) ~= "/"
          and to:find("%.%w+$") ~= nil,
          where = node.where })
      end
    elseif node.name == "aliasmatch" and node.args[2] then
      local regex, to = node.args[1], node.args[2]:match("^(/[^$]*)/%$1$")
      if to then
        table.insert(self.aliases, { pattern = regex, to = trimmed(to), where = node.where })
      else
        self.model:note(self.notes, node, "only a folder and $1")
      end
    end
  end
  table.sort(self.aliases, function(a, b)
    return #(a.from or "") > #(b.from or "")
  end)
end

local function finish_server(self, model)
  local server = self.server
  server.id = model:identifier(server.hosts[1])
  server.title = "virtual host " .. (server.hosts[1] and table.concat(server.hosts, " ")
    or "without a name")
  write_server(self)
  model.servers[#model.servers + 1] = server
end

local function read_htaccess(self, opened, shared)
  for _, path in ipairs(self.htaccess or {}) do
    local folder = path:match("^(.*)/") or "/"
    local nodes = syntax.read(path, opened, shared)
    local prefix = self.root and prefix_of(self, folder)
    if not self.root then
      self.root, prefix = trimmed(folder), "/"
    end
    read_block(self, nodes, self.ctx, (prefix and prefix ~= "/")
      and ("path:find(%s)"):format(quote(starts(prefix)))
      or nil, prefix or "/", true)
  end
end

local function read_listen(model, node)
  local text = node.args[1] or ""
  if node.args[2] == "https" or text:find(":?443$") then
    model:note(model.notes, { name = "Listen", args = node.args, where = node.where },
      "TLS ends in a proxy in front: trusted_proxies, docs/behind-a-proxy.md")
    return
  end
  local address = text:find("^%d+$") and "0.0.0.0:" .. text or text:gsub("^%*", "0.0.0.0")
  if #model.listen < 64 then
    table.insert(model.listen, address)
  end
  model.translated = model.translated + 1
end

--- The model of a route from these files.
---@param paths string[] configurations, and .htaccess files
---@param opened moongate.import.Files
---@return table model
function M.model(paths, opened)
  local model = Model.new("Apache")
  model.prefix, model.externals, model.groups = "/etc/apache2", {}, {}
  model.needs = {}
  local shared, nodes, htaccess = syntax.shared(), {}, {}
  for _, path in ipairs(paths) do
    if path:find("%.htaccess[^/]*$") then
      htaccess[#htaccess + 1] = path
    else
      for _, node in ipairs(syntax.read(path, opened, shared)) do
        nodes[#nodes + 1] = node
      end
    end
  end
  local main = new_server(model, nil, nodes[1] and nodes[1].where or paths[1])
  main.is_main = true
  local kept = {}
  for _, node in ipairs(nodes) do
    if node.name == "listen" then
      read_listen(model, node)
    else
      kept[#kept + 1] = node
    end
  end
  read_names(main, kept)
  -- What others refer to is read first.
  for _, list in ipairs({ kept }) do
    proxy.collect(model, list, flattened, main)
  end
  read_block(main, kept, main.ctx, nil, "/", false)
  local hosts = {}
  for _, node in ipairs(main.later) do
    if node.name == "virtualhost" then
      local self = new_server(model, main, node.where)
      local address = node.args[1] or "*:80"
      local port = tonumber(address:match(":(%d+)$"))
      read_names(self, node.block)
      local own = flattened(node.block, {}, { model = { note = function() end } })
      local tls = port == 443
      for _, one in ipairs(own) do
        tls = tls or one.name == "sslengine" and (one.args[1] or ""):lower() == "on"
      end
      self.server.tls, self.server.port = tls or nil, port
      proxy.collect(model, node.block, flattened, self)
      read_block(self, node.block, self.ctx, nil, "/", false)
      hosts[#hosts + 1] = self
      model.translated = model.translated + 1
    end
  end
  local first = hosts[1] or main
  for _, path in ipairs(htaccess) do
    local folder = path:match("^(.*)/") or "/"
    local owner = first
    for _, self in ipairs(hosts) do
      if self.root and (folder == self.root or folder:sub(1, #self.root + 1) == self.root
        .. "/") then
        owner = self
        break
      end
    end
    for _, self in ipairs(#hosts > 0 and hosts or { main }) do
      -- The folder of several virtual hosts is read for each of them.
      if self == owner or (self.root and self.root == owner.root) then
        self.htaccess = self.htaccess or {}
        table.insert(self.htaccess, path)
      end
    end
  end
  if #hosts == 0 then
    hosts[1] = main
  end
  model:take_compression(responses.compressed(main.ctx), main.server.where)
  for _, self in ipairs(hosts) do
    read_htaccess(self, opened, syntax.shared())
    if #hosts == 1 then
      model:take_compression(responses.compressed(self.ctx), self.server.where)
    end
    if not self.ctx.php and (self.wants_php or #htaccess > 0 and #nodes == 0) then
      local name = model:backend("unix:/run/php/php-fpm.sock")
      self.ctx.php = { backend = name }
      model:trap(self.server.where,
        "no PHP is named here (mod_php?): put the address of PHP-FPM into `backends`")
    end
    finish_server(self, model)
  end
  if hosts[1] ~= main then
    for _, note in ipairs(main.notes) do
      table.insert(model.notes, note)
    end
  end
  return model
end

return M
