-- moongate.import.nginx_responses owns what nginx compresses and keeps of responses: gzip, brotli,
-- zstd, files that are compressed already, and fastcgi_cache, as `compress`, `precompressed` and
-- `cache`. Called by nginx_settings (READERS), nginx and nginx_handlers.

local values = require("moongate.import.nginx_values")
local writer = require("moongate.import.writer")

local M = {}

--- Readers of directives, for nginx_settings.
---@type table<string, fun(self: table, ctx: table, directive: table): boolean|nil>
M.READERS = {}

local R = M.READERS

-- Compression -------------------------------------------------------------------------------------

-- nginx's names of the codings, and HTTP's; the preferred one first.
local CODINGS = { { "zstd", "zstd" }, { "brotli", "br" }, { "gzip", "gzip" } }
local MIN_MOST, LEVEL_MOST, TYPES_MOST = 65536, 9, 99

local function switch(key)
  return function(_, ctx, directive)
    local word = directive.args[1]
    ctx[key] = word == "on"
    return word == "on" or word == "off"
  end
end

local function static_reader(_, ctx, directive)
  ctx.precompressed = directive.args[1] ~= "off"
  return directive.args[1] == "on" or directive.args[1] == "off"
end

local function level_reader(key)
  return function(_, ctx, directive)
    local level = tonumber(directive.args[1])
    ctx[key] = level and math.max(1, math.min(LEVEL_MOST, math.floor(level))) or nil
    return level ~= nil
  end
end

local function types_reader(key)
  return function(_, ctx, directive)
    ctx[key] = directive.args
    return #directive.args > 0
  end
end

local function bytes_of(size)
  local number, unit = tostring(size):match("^(%d+)(%a?)$")
  return tonumber(number) * (unit == "k" and 1024 or unit == "M" and 1048576 or unit == "" and 1
    or 1073741824)
end

local function min_reader(_, ctx, directive)
  local size = values.size(directive.args[1] or "")
  if not size or bytes_of(size) > MIN_MOST then
    return false
  end
  ctx.compress_min = size
  return true
end

for _, coding in ipairs(CODINGS) do
  local name = coding[1]
  R[name], R[name .. "_static"] = switch(name), static_reader
  R[name .. "_types"], R[name .. "_comp_level"] = types_reader(name .. "_types"),
    level_reader(name .. "_level")
  R[name .. "_min_length"] = min_reader
end

--- Adds media types that are not in the list; `*` stands for all.
local function add_types(list, types)
  for _, kind in ipairs(types or {}) do
    if kind == "*" then
      list.all = true
    elseif not list[kind] and #list < TYPES_MOST
      and kind:find("^[%w!#$&^_.+-]+/[%w!#$&^_.+-]+$") then
      list[kind] = true
      list[#list + 1] = kind
    end
  end
end

--- What is compressed in a block: a value of `compress`, false for nothing.
---@param ctx table of nginx_settings
---@return table|false
function M.compressed(ctx)
  local encodings, levels = {}, {}
  local types = { "text/html", ["text/html"] = true } -- which nginx adds to any list
  for _, coding in ipairs(CODINGS) do
    local name, word = unpack(coding)
    if ctx[name] then
      encodings[#encodings + 1] = word
      add_types(types, ctx[name .. "_types"])
      levels[word] = ctx[name .. "_level"]
    end
  end
  if #encodings == 0 then
    return false
  end
  return {
    encodings = encodings, types = types.all and { "*" } or { unpack(types) },
    min = ctx.compress_min, levels = next(levels) and levels or nil,
  }
end

--- The `compress` of what is sent in a block, where it differs from what else would hold.
---@param model table
---@param ctx table of nginx_settings
---@param around table|nil the block whose value holds otherwise; nil: the route's
---@return table|boolean|nil
function M.compression(model, ctx, around)
  local value, other = M.compressed(ctx), model.compress or false
  if around then
    other = M.compressed(around)
  end
  if writer.value(value) == writer.value(other) then
    return nil
  end
  return value
end

-- The cache ---------------------------------------------------------------------------------------

-- Statuses for which `ttl` holds, and those of a fastcgi_cache_valid without any.
local TIMED = { [200] = true, [203] = true, [301] = true, [302] = true, [308] = true, [410] = true }
local PLAIN = { 200, 301, 302 }

-- What the default key has: scheme, host and target, as they were sent, of a GET or a HEAD.
local IN_KEY = {
  scheme = true, https = true, request_method = true, host = true, http_host = true,
  server_name = true, server_port = true, proxy_host = true, request_uri = true, uri = true,
  document_uri = true, fastcgi_script_name = true, args = true, query_string = true,
  is_args = true,
}

R.fastcgi_cache_path = function(self, _, directive)
  local path, zone, size, inactive = directive.args[1] or "", nil, nil, 600
  for i = 2, #directive.args do
    local key, value = directive.args[i]:match("^([%w_]+)=(.*)$")
    if key == "keys_zone" then
      zone = value:match("^([^:]+)")
    elseif key == "max_size" then
      size = values.size(value)
    elseif key == "inactive" then
      inactive = values.time(value) or inactive
    end
  end
  if not zone or path:sub(1, 1) ~= "/" or path:find("%c") then
    return false
  end
  local model = self.model
  model.cache_zones = model.cache_zones or {}
  model.cache_zones[zone] = inactive
  if model.cache then
    model:trap(directive.where, "the route has one folder for all that is kept: `cache.path`")
    return true
  end
  model.cache = { path = path, size = size }
  model:trap(directive.where, "`cache.path`: the user of the workers must be able to make a folder "
    .. "in it; without `path` it is /dev/shm" .. (size and "" or "; and without `max_size` here, "
    .. "`cache.size` is 64M"))
  return true
end

R.fastcgi_cache = function(self, ctx, directive)
  local zone = directive.args[1] or ""
  ctx.cache = zone ~= "off" and zone
  if ctx.cache and not (self.model.cache_zones or {})[zone] then
    self.model:trap(directive.where, "the zone of fastcgi_cache has no fastcgi_cache_path: "
      .. "`cache.size` of the route is 64M")
  end
  return not zone:find("$", 1, true)
end

local function lists(key)
  return function(_, ctx, directive)
    local own = rawget(ctx, key) or {}
    if #directive.args == 0 then
      return false
    end
    ctx[key] = own
    own[#own + 1] = directive
    return true
  end
end
R.fastcgi_cache_bypass, R.fastcgi_no_cache = lists("cache_bypass"), lists("cache_bypass")
R.fastcgi_cache_valid = lists("cache_valid")
R.fastcgi_cache_key = function(_, ctx, directive)
  ctx.cache_key = directive
  return directive.args[1] ~= nil
end
R.fastcgi_cache_use_stale = function(_, ctx, directive)
  ctx.cache_stale = directive.args[1] ~= "off"
  return directive.args[1] ~= nil
end
R.fastcgi_cache_lock = switch("cache_lock")
R.fastcgi_ignore_headers = function(_, ctx, directive)
  ctx.cache_ignore = {}
  for _, name in ipairs(directive.args) do
    if name:lower() == "cache-control" or name:lower() == "set-cookie" then
      table.insert(ctx.cache_ignore, name)
    end
  end
  return true
end
R.fastcgi_cache_methods = function(_, _, directive)
  for _, method in ipairs(directive.args) do
    if method:upper() ~= "GET" and method:upper() ~= "HEAD" then
      return false
    end
  end
  return true
end
R.fastcgi_cache_min_uses = function(_, _, directive)
  return directive.args[1] == "1"
end

--- The seconds that a response with status 200 is fresh; other statuses may have other times.
local function ttl_of(self, ctx)
  local times, any = {}, nil
  for _, directive in ipairs(ctx.cache_valid or {}) do
    local args, seconds = directive.args, values.time(directive.args[#directive.args])
    local codes = #args > 1 and { unpack(args, 1, #args - 1) } or PLAIN
    for _, code in ipairs(codes) do
      any = code == "any" and seconds or any
      times[tonumber(code) or 0] = code ~= "any" and seconds or nil
    end
  end
  local ttl = times[200] or any
  for _, directive in ipairs(ctx.cache_valid or {}) do
    for i = 1, #directive.args - 1 do
      local status = tonumber(directive.args[i])
      if not directive.noted and (not status or not TIMED[status] or times[status] ~= ttl) then
        directive.noted = true
        self.model:note(self.server.notes, directive,
          "`ttl` is for 200, 203, 301, 302, 308 and 410; of others the response's headers say it")
      end
    end
  end
  return ttl
end

--- A test of fastcgi_cache_bypass and fastcgi_no_cache: one of the texts is neither empty nor 0.
local function bypass_of(self, ctx, scope)
  local tests, seen, whole = {}, {}, true
  for _, directive in ipairs(ctx.cache_bypass or {}) do
    for _, text in ipairs(directive.args) do
      local made = values.expression(text, scope)
      whole = whole and made ~= nil
      if not made and not directive.noted then
        directive.noted = true
        self.model:note(self.server.notes, directive, "a variable that the importer does not know")
      elseif made and not seen[made] then
        seen[made] = true
        tests[#tests + 1] = ('%s ~= "" and %s ~= "0"'):format(made, made)
      end
    end
  end
  local test = table.concat(tests, " or ")
  if not whole then -- requests with cookies pass by, whatever else is known
    return #tests > 0 and writer.raw(("(%s) or nil"):format(test)) or nil
  elseif #tests > 0 then
    return writer.raw(test)
  end
  self.model:trap(self.server.where, "requests with cookies get kept responses, too, as before: "
    .. "without `bypass = false` they pass by")
  return false
end

--- The headers that the key has; nil where it has what `vary` can't say.
---@return string[]|nil vary
local function vary_of(ctx)
  local vary = {}
  for _, part in ipairs(values.parts(ctx.cache_key and ctx.cache_key.args[1] or "")) do
    local name = part.name or "uri"
    local header = name:match("^http_(.+)$")
    if header and name ~= "http_host" then
      vary[#vary + 1] = (header:gsub("_", "-"):gsub("%f[%a]%a", string.upper))
    elseif not IN_KEY[name] and not name:find("^arg_") then
      return nil
    end
  end
  return vary
end

--- The `cache` of decisions in a block.
---@param self table the server that is read
---@param ctx table of nginx_settings
---@param scope table of nginx_values
---@return table|nil cache
---@return boolean|nil dynamic it has texts of Lua about `req`
function M.cache(self, ctx, scope)
  if not ctx.cache then
    return nil
  end
  local vary = vary_of(ctx)
  if not vary then -- without a part of its key a response would be sent to those it is not for
    if not ctx.cache_key.noted then
      ctx.cache_key.noted = true
      self.model:note(self.server.notes, ctx.cache_key,
        "nothing is kept here: a function for `cache` can make a `key` with this")
    end
    return nil
  end
  scope = setmetatable({ captures = false }, { __index = scope }) -- those are of one place only
  local bypass = bypass_of(self, ctx, scope)
  local zones, ignored = self.model.cache_zones or {}, ctx.cache_ignore or {}
  local cache = {
    bypass = bypass, ttl = ttl_of(self, ctx), vary = #vary > 0 and vary or nil,
    stale = ctx.cache_stale and (zones[ctx.cache] or 600) or nil,
    ignore = #ignored > 0 and ignored or nil,
  }
  if ctx.cache_lock == false then
    cache.lock = false
  end
  return cache, type(bypass) == "table"
end

return M
