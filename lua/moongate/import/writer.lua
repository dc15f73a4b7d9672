-- moongate.import.writer owns the text of a route that was made of another server's configuration.
-- Called by
-- moongate.import.
--
-- A model, which the importers make, is a table of
--   kind      "nginx" or "Apache"
--   files     what was read
--   listen    addresses
--   backends  list of { name=, servers= { address or table }, options= }
--   limits    keys of `limits`
--   compress  that of the route, or nil
--   cache     likewise
-- servers   list of { id=, title=, where=, hosts=, is_default=, tls=, port=, fields=, body=, notes=
-- }
--             where `fields` and `body` are lines of Lua
--   notes     list of { where=, text= }: what was not translated
--   traps     the same: what is worth a look
--   needs     name -> true of modules that the lines use

local pattern = require("moongate.import.pattern")

local M = {}

-- In which order keys stand; others follow by name.
local ORDER = {}
for i, key in ipairs({
  "address", "servers", "backend", "root", "file", "docroot", "strip", "script", "path_info",
    "path", "status",
  "redirect", "front", "index", "try", "never", "static", "not_found", "errors", "params",
}) do
  ORDER[key] = i
end

local WIDTH = 100

--- Adds a line of Lua to a list of lines.
---@param lines string[]
---@param indent integer levels, of two spaces each
---@param text string a format where values follow
function M.add(lines, indent, text, ...)
  lines[#lines + 1] = ("  "):rep(indent) .. (select("#", ...) > 0 and text:format(...) or text)
end

--- Adds the lines that return the decision of a guard, where it makes one.
---@param guard string the guard, in Lua
function M.refuse(lines, indent, guard)
  M.add(lines, indent, "do")
  M.add(lines, indent + 1, "local refused = %s(req)", guard)
  M.add(lines, indent + 1, "if refused then")
  M.add(lines, indent + 2, "return refused")
  M.add(lines, indent + 1, "end")
  M.add(lines, indent, "end")
end

--- Adds the lines of the guards of one place.
---@param by_address string|nil a guard, in Lua
---@param by_login string|nil likewise
---@param either nil|fun(guard: string): string keeps a guard that needs one of the two, and returns
--- its name; nil: both are needed
function M.refuse_access(lines, indent, by_address, by_login, either)
  if by_address and by_login and either then
    M.refuse(lines, indent, either(("auth.any(%s, %s)"):format(by_address, by_login)))
    return
  end
  if by_address then
    M.refuse(lines, indent, by_address)
  end
  if by_login then
    M.refuse(lines, indent, by_login)
  end
end

local function sorted(value)
  local keys = {}
  for key in pairs(value) do
    if type(key) ~= "number" or key > #value or key < 1 then
      keys[#keys + 1] = key
    end
  end
  table.sort(keys, function(a, b)
    local left, right = ORDER[a] or 99, ORDER[b] or 99
    if left ~= right then
      return left < right
    elseif type(a) ~= type(b) then
      return type(a) == "number"
    end
    return a < b
  end)
  return keys
end

local RESERVED = { ["end"] = true, ["return"] = true, ["function"] = true, ["local"] = true,
  ["in"] = true,
  ["and"] = true, ["or"] = true, ["not"] = true, ["if"] = true, ["then"] = true, ["else"] = true,
  ["for"] = true, ["do"] = true, ["while"] = true, ["repeat"] = true, ["until"] = true,
    ["nil"] = true,
  ["true"] = true, ["false"] = true, ["break"] = true, ["elseif"] = true, ["goto"] = true }

local function key_text(key)
  if type(key) == "number" then
    return ("[%d] = "):format(key)
  elseif key:match("^[%a_][%w_]*$") and not RESERVED[key] then
    return key .. " = "
  end
  return ("[%s] = "):format(pattern.quote(key))
end

--- What is Lua already.
---@param text string
---@return table
function M.raw(text)
  return setmetatable({ raw = text }, M)
end

--- A value as Lua: texts, numbers, truth values, tables of them, and what `raw` made.
---@param value any
---@param indent string|nil what stands before further lines
---@return string
function M.value(value, indent)
  indent = indent or ""
  if type(value) == "string" then
    return pattern.quote(value)
  elseif type(value) ~= "table" then
    return tostring(value)
  elseif getmetatable(value) == M then
    return (value.raw:gsub("\n", "\n" .. indent))
  end
  local items = {}
  for _, item in ipairs(value) do
    items[#items + 1] = M.value(item, indent .. "  ")
  end
  for _, key in ipairs(sorted(value)) do
    items[#items + 1] = key_text(key) .. M.value(value[key], indent .. "  ")
  end
  if #items == 0 then
    return "{}"
  end
  local line = "{ " .. table.concat(items, ", ") .. " }"
  if #line + #indent <= WIDTH and not line:find("\n", 1, true) then
    return line
  end
  return "{\n" .. indent .. "  " .. table.concat(items, ",\n" .. indent .. "  ") .. ",\n" .. indent
    .. "}"
end

--- A text that is safe behind "--".
local function comment(text)
  return (text:gsub("%c+", " "):gsub("^%[", " ["))
end
M.comment = comment

local MODULES = {
  { "auth", "moongate.auth" }, { "headers", "moongate.headers" }, { "limit", "moongate.limit" },
  { "ngx", "ngx" }, { "php", "moongate.php" }, { "rewrite", "moongate.rewrite" },
  { "router", "moongate.router" },
}

local function write_notes(out, notes, indent)
  for _, note in ipairs(notes) do
    out[#out + 1] = ("%s-- NOT TRANSLATED %s: %s"):format(indent or "", note.where,
      comment(note.text))
  end
end

local function write_server(out, server)
  out[#out + 1] = ""
  out[#out + 1] = ("-- %s (%s)"):format(comment(server.title), server.where)
  write_notes(out, server.notes)
  out[#out + 1] = ("local %s = {}"):format(server.id)
  for _, line in ipairs(server.fields) do
    out[#out + 1] = line
  end
  out[#out + 1] = ""
  out[#out + 1] = ("function %s.decide(req)"):format(server.id)
  for _, line in ipairs(server.body) do
    out[#out + 1] = line == "" and "" or "  " .. line
  end
  out[#out + 1] = "end"
end

-- Servers that share listeners, as one handler: a router by host, or the only server.
local function write_hosts(out, name, servers)
  local default = servers[1]
  local hosts, count = {}, 0
  for _, server in ipairs(servers) do
    if server.is_default then
      default = server
      break
    end
  end
  for _, server in ipairs(servers) do
    for _, host in ipairs(server.hosts) do
      if not hosts[host] and server ~= default then
        hosts[host], count = server, count + 1
        hosts[#hosts + 1] = host
      end
    end
  end
  if count == 0 then
    return default.id .. ".decide"
  end
  out[#out + 1] = ""
  out[#out + 1] = ("local %s = router.new { default = %s.decide }"):format(name, default.id)
  for _, host in ipairs(hosts) do
    out[#out + 1] = ("%s:host(%s, %s.decide)"):format(name, pattern.quote(host), hosts[host].id)
  end
  return name
end

-- Groups of servers by where they listen: the port, or that they were for https.
local function write_choice(out, model)
  local groups, order = {}, {}
  for _, server in ipairs(model.servers) do
    local key = server.tls and "https" or "port " .. tostring(server.port or "")
    if not groups[key] then
      groups[key] = { servers = {}, tls = server.tls, port = server.port }
      order[#order + 1] = groups[key]
    end
    table.insert(groups[key].servers, server)
  end
  if #order == 1 then
    return write_hosts(out, "hosts", order[1].servers)
  end
  local lines = {}
  for i, group in ipairs(order) do
    local name = write_hosts(out, group.tls and "https" or "hosts_" .. i, group.servers)
    local test = group.tls and 'req.scheme == "https"' or "req.server_port == "
      .. tostring(group.port)
    lines[#lines + 1] = { test = test, name = name, tls = group.tls }
  end
  table.sort(lines, function(a, b)
    return (a.tls and 1 or 2) < (b.tls and 1 or 2)
  end)
  out[#out + 1] = ""
  out[#out + 1] = "local function choose(req)"
  for i, line in ipairs(lines) do
    if i < #lines then
      out[#out + 1] = ("  if %s then"):format(line.test)
      out[#out + 1] = ("    return %s(req)"):format(line.name)
      out[#out + 1] = "  end"
    else
      out[#out + 1] = ("  return %s(req)"):format(line.name)
    end
  end
  out[#out + 1] = "end"
  return "choose"
end

local function backends_of(model)
  local backends = {}
  for _, backend in ipairs(model.backends) do
    local plain = next(backend.options) == nil
    local servers = backend.servers
    if plain and #servers == 1 and type(servers[1]) == "string" then
      backends[backend.name] = servers[1]
    else
      local value = { servers = servers }
      for key, option in pairs(backend.options) do
        value[key] = option
      end
      backends[backend.name] = value
    end
  end
  return backends
end

--- The route.
---@param model table
---@return string
function M.route(model)
  local out, parts = {}, {}
  for _, server in ipairs(model.servers) do
    write_server(parts, server)
  end
  local handler = write_choice(parts, model)
  local text = table.concat(parts, "\n")
  out[#out + 1] = ("-- Made by `moongate import %s` of %s."):format(model.kind:lower(),
    comment(table.concat(model.files, ", ", 1, math.min(#model.files, 5))
      .. (#model.files > 5 and (" and %d more"):format(#model.files - 5) or "")))
  out[#out + 1] = "-- Read it, then: moongate check; moongate explain ROUTE URL."
  if #model.traps > 0 then
    out[#out + 1] = "--"
    for _, trap in ipairs(model.traps) do
      out[#out + 1] = ("-- LOOK %s: %s"):format(trap.where, comment(trap.text))
    end
  end
  if #model.idle_names > 0 then
    out[#out + 1] = "--"
    out[#out + 1] = "-- Needless here: " .. comment(table.concat(model.idle_names, " "))
  end
  if #model.notes > 0 then
    out[#out + 1] = "--"
    write_notes(out, model.notes)
  end
  out[#out + 1] = ""
  for _, module in ipairs(MODULES) do
    if text:find("%f[%w_]" .. module[1] .. "%f[%W]") and (text:find(module[1] .. ".", 1, true)) then
      out[#out + 1] = ("local %s = require(%q)"):format(module[1], module[2])
    end
  end
  out[#out + 1] = text
  out[#out + 1] = ""
  out[#out + 1] = "return {"
  if #model.listen > 0 then
    out[#out + 1] = "  listen = " .. M.value(#model.listen == 1 and model.listen[1] or model.listen,
      "  ") .. ","
  end
  out[#out + 1] = "  backends = " .. M.value(backends_of(model), "  ") .. ","
  if next(model.limits) then
    out[#out + 1] = "  limits = " .. M.value(model.limits, "  ") .. ","
  end
  for _, key in ipairs({ "compress", "cache" }) do
    if model[key] then
      out[#out + 1] = ("  %s = %s,"):format(key, M.value(model[key], "  "))
    end
  end
  if model.trusted then
    out[#out + 1] = "  trusted_proxies = " .. M.value(model.trusted, "  ") .. ","
  end
  out[#out + 1] = ("  on_request = %s,"):format(handler)
  out[#out + 1] = "}"
  return table.concat(out, "\n") .. "\n"
end

--- What the importer says at its end.
---@param model table
---@return string
function M.summary(model)
  local count, list = #model.notes, {}
  for _, note in ipairs(model.notes) do
    list[#list + 1] = note
  end
  for _, server in ipairs(model.servers) do
    count = count + #server.notes
    for _, note in ipairs(server.notes) do
      list[#list + 1] = note
    end
  end
  local lines = { ("%d file(s), %d server(s), %d backend(s); %d line(s) translated, %d not"):format(
    #model.files, #model.servers, #model.backends, model.translated, count) }
  for _, note in ipairs(list) do
    lines[#lines + 1] = ("  not translated: %s: %s"):format(note.where, comment(note.text))
  end
  for _, trap in ipairs(model.traps) do
    lines[#lines + 1] = ("  look: %s: %s"):format(trap.where, comment(trap.text))
  end
  return table.concat(lines, "\n") .. "\n"
end

return M
