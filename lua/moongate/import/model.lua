-- moongate.import.model owns what the importers of all web servers note alike: backends by address,
-- servers by name, lines that were not translated. Called by moongate.import.nginx and apache; see
-- writer for its keys.

local addr = require("moongate.base.addr")

local M = {}

local Model = {}
Model.__index = Model

-- What is worth a look where responses were compressed.
local COMPRESSED = "`compress` has the codings and types that were compressed before; with "
  .. "`compress = true` zstd and brotli are used, too, for all texts"

--- The names in a text, as a set.
---@param text string names with white space between them
---@return table<string, true>
function M.names(text)
  local set = {}
  for name in text:gmatch("%S+") do
    set[name] = true
  end
  return set
end

--- The reason why a directive is not translated.
---@param reasons table<string, string> a reason for each pattern of names
---@param name string
---@return string|nil
function M.reason(reasons, name)
  for words, reason in pairs(reasons) do
    if name:find(words) then
      return reason
    end
  end
  return nil
end

---@param kind string
---@return table model
function M.new(kind)
  return setmetatable({
    kind = kind, files = {}, listen = {}, backends = {}, limits = {}, servers = {}, notes = {},
      traps = {},
    translated = 0, by_address = {}, ids = {}, names = {}, trapped = {},
    idle_names = {}, prefix = "/etc/nginx",
  }, Model)
end

--- A line that was not translated.
---@param list table of a server, or of the model
function Model:note(list, directive, why)
  if #list < 1000 then
    local line = directive.name .. (#directive.args > 0 and " " .. table.concat(directive.args, " ")
      or "")
    list[#list + 1] = {
      where = directive.where, text = (#line > 120 and line:sub(1, 117) .. "..." or line)
        .. (why and "   (" .. why .. ")" or ""),
    }
  end
end

--- A line that is needless here.
function Model:idle(directive)
  if not self.idle_names[directive.name] then
    self.idle_names[directive.name] = true
    table.insert(self.idle_names, directive.name)
  end
end

--- What is worth a look, each once.
function Model:trap(where, text)
  if not self.trapped[text] and #self.traps < 200 then
    self.trapped[text] = true
    self.traps[#self.traps + 1] = { where = where, text = text }
  end
end

--- Takes what a server compresses for the route's.
---@param value table|false of `compress`
---@param where string
function Model:take_compression(value, where)
  self.compress = value or nil
  if value then
    self:trap(where, COMPRESSED)
  end
end

local function unique(taken, name)
  local number, made = 1, name
  while taken[made] do
    number = number + 1
    made = name .. "_" .. number
  end
  taken[made] = true
  return made
end

--- A field of a server's table with this value, a text of Lua; one for the same text.
---@param state { names: table, texts: table, server: table } of the server that is read
---@param name string what to call it, unless another value has the name
---@param text string
---@return string full such as "shop.root"
function M.field(state, name, text)
  local full = state.texts[text]
  if not full then
    full = state.server.id .. "." .. unique(state.names, name)
    state.texts[text] = full
    for part in (full .. " = " .. text .. "\n"):gmatch("(.-)\n") do
      table.insert(state.server.fields, part)
    end
  end
  return full
end

local RESERVED = { auth = true, headers = true, limit = true, ngx = true, php = true,
  rewrite = true,
  router = true, hosts = true, https = true, choose = true, req = true, path = true, ["end"] = true,
  ["local"] = true, ["return"] = true, ["in"] = true, ["for"] = true, ["do"] = true }

--- The name of a server's table in Lua.
function Model:identifier(name)
  local id = (name or ""):lower():gsub("[^%w]+", "_"):gsub("^_+", ""):gsub("_+$", "")
  if id == "" or RESERVED[id] then
    id = "site" .. (id == "" and "" or "_" .. id)
  elseif id:find("^%d") then
    id = "site_" .. id
  end
  return unique(self.ids, id:sub(1, 60))
end

--- An address as Moongate writes it, or nil.
function M.address(text, port)
  if text:find("^unix:") then
    text = "unix:" .. text:sub(6):gsub("^//+", "/"):match("^([^|:]*)")
  elseif port and not text:find(":%d+$") then
    text = text .. ":" .. port
  end
  text = text:gsub("/$", "")
  return addr.parse(text, "connect") and text or nil
end

--- The name of the backend with these servers; made where there is none yet.
---@param address string
---@return string|nil name nil where the address is none
function Model:backend(address)
  local known = self.by_address[address]
  if known then
    return known
  end
  local name = address:match("php[%d.]*%d") or address:find("php", 1, true) and "php" or "app"
  name = unique(self.names, (name:gsub("%.", "")))
  self.by_address[address] = name
  self.backends[#self.backends + 1] = { name = name, servers = { address }, options = {} }
  return name
end

--- A backend of several servers by the name that the configuration gives it.
function Model:group(name, servers, options)
  local made = unique(self.names, (name:gsub("[^%w_]", "_")))
  local backend = { name = made, servers = servers, options = options or {} }
  self.backends[#self.backends + 1] = backend
  return made, backend
end

--- The backend of that name.
function Model:find_backend(name)
  for _, backend in ipairs(self.backends) do
    if backend.name == name then
      return backend
    end
  end
  return nil
end

return M
