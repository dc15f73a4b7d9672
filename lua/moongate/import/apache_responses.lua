-- moongate.import.apache_responses owns what Apache compresses of responses: mod_deflate and
-- mod_brotli, as `compress`. Called by apache_settings (READERS) and apache.

local writer = require("moongate.import.writer")

local M = {}

--- Readers of directives, for apache_settings.
---@type table<string, fun(self: table, ctx: table, node: table): boolean|nil>
M.READERS = {}

local R = M.READERS

local CODINGS = { DEFLATE = "gzip", BROTLI_COMPRESS = "br" }
local LEVEL_MOST, TYPES_MOST = 9, 100

-- The types of AddOutputFilter's extensions.
local TYPES = {
  css = { "text/css" }, htm = { "text/html" }, html = { "text/html" }, php = { "text/html" },
  js = { "text/javascript", "application/javascript" }, json = { "application/json" },
  svg = { "image/svg+xml" }, txt = { "text/plain" }, xml = { "text/xml", "application/xml" },
}

--- What is compressed in a section, which begins with what is around it.
local function own(ctx)
  local list = rawget(ctx, "compress")
  if not list then
    local around = ctx.compress or { types = {}, levels = {} }
    list = { types = { unpack(around.types) }, levels = {}, all = around.all, gzip = around.gzip,
      br = around.br }
    for name, level in pairs(around.levels) do
      list.levels[name] = level
    end
    rawset(ctx, "compress", list)
  end
  if rawget(ctx, "section") then
    ctx.matters = true
  end
  return list
end

local function add_type(list, kind)
  for _, known in ipairs(list.types) do
    if known == kind then
      return
    end
  end
  if #list.types < TYPES_MOST then
    list.types[#list.types + 1] = kind
  end
end

--- The codings that a filter, or several with `;` between them, stands for; nil where there is
--- another one among them.
local function codings_of(text)
  local found = {}
  for filter in (text or ""):gmatch("[^;]+") do
    local coding = CODINGS[filter:upper()]
    if not coding then
      return nil
    end
    found[#found + 1] = coding
  end
  return found[1] and found
end

--- Notes that a filter is at work, for whatever `add` puts into the list.
local function filter(ctx, node, add)
  local section, found = rawget(ctx, "section"), codings_of(node.args[1])
  if not found or section and section.name:find("^files") then
    return false
  end
  local list = own(ctx)
  for _, coding in ipairs(found) do
    list[coding] = true
  end
  return add(list)
end

R.addoutputfilterbytype = function(_, ctx, node)
  return filter(ctx, node, function(list)
    for i = 2, #node.args do
      local kind = node.args[i]:lower()
      if not kind:find("^[%w!#$&^_.+-]+/[%w!#$&^_.+-]+$") then
        return false
      end
      add_type(list, kind)
    end
    return #node.args > 1
  end)
end

R.addoutputfilter = function(_, ctx, node)
  for i = 2, #node.args do
    if not TYPES[node.args[i]:gsub("^%.", ""):lower()] then
      return false
    end
  end
  return filter(ctx, node, function(list)
    for i = 2, #node.args do
      for _, kind in ipairs(TYPES[node.args[i]:gsub("^%.", ""):lower()]) do
        add_type(list, kind)
      end
    end
    return #node.args > 1
  end)
end

R.setoutputfilter = function(self, ctx, node)
  local set = filter(ctx, node, function(list)
    list.all = true
    return true
  end)
  if set then
    self.model:trap(node.where, "SetOutputFilter compresses all types; `compress` has a list of "
      .. "those that become smaller")
  end
  return set
end

local function level(coding)
  return function(_, ctx, node)
    local number = tonumber(node.args[1])
    if not number then
      return false
    end
    own(ctx).levels[coding] = math.max(1, math.min(LEVEL_MOST, math.floor(number)))
    return true
  end
end
R.deflatecompressionlevel, R.brotlicompressionquality = level("gzip"), level("br")

local OFF = { ["no-gzip"] = true, ["no-brotli"] = true, ["dont-vary"] = true,
  ["gzip-only-text/html"] = true, ["force-gzip"] = true }

--- Does the directive, from that argument on, set nothing but what mod_deflate and mod_brotli look
--- at?
---@param args string[]
---@param from integer
---@return boolean
function M.is_about_filters(args, from)
  for i = from, #args do
    if not OFF[args[i]:gsub("^!", ""):gsub("=.*$", "")] then
      return false
    end
  end
  return #args >= from
end

--- What is compressed in a section: a value of `compress`, false for nothing.
---@param ctx table of apache_settings
---@return table|false
function M.compressed(ctx)
  local list = ctx.compress
  if not list or not (list.gzip or list.br) then
    return false
  end
  local encodings, levels = {}, {}
  for _, coding in ipairs({ "br", "gzip" }) do
    if list[coding] then
      encodings[#encodings + 1] = coding
      levels[coding] = list.levels[coding]
    end
  end
  return {
    encodings = encodings, levels = next(levels) and levels or nil,
    types = not list.all and { unpack(list.types) } or nil,
  }
end

--- The `compress` of a decision, where it differs from the route's.
---@param model table
---@param ctx table of apache_settings
---@return table|boolean|nil
function M.compression(model, ctx)
  local value = M.compressed(ctx)
  if writer.value(value) == writer.value(model.compress or false) then
    return nil
  end
  return value
end

return M
