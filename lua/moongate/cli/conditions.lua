-- moongate.cli.conditions owns what `explain` says of the conditions under which a request runs:
-- settings of the route that the decision does not show, and keys of the decision about time and
-- the parts of the response. Called by cli.explain. What has its default is not named.

local compress = require("moongate.decision.compress")
local file = require("moongate.cli.file")
local locate = require("moongate.route.locate")
local schema = require("moongate.route.schema")
local units = require("moongate.base.units")
local sorted_keys = require("moongate.base.keys").sorted

local M = {}

--- Adds the line of the route in which a setting is.
---@param path string[] keys from the top of the table that the route returns
local function placed(settings, path, text)
  local source = file.text(settings.source)
  return source and ("%s (%s:%d)"):format(text, settings.source, locate.line(source, path)) or text
end

--- A time as a route writes it: "30s", "1500ms".
local function time(seconds)
  return seconds % 1 == 0 and ("%ds"):format(seconds) or ("%gms"):format(seconds * 1000)
end

--- Which responses are compressed, in words.
---@param own table normalized
local function compress_text(own)
  return ("compress: bodies of %d bytes or more of %d media types, as %s"):format(own.min,
    #own.types, table.concat(own.encodings, ", "))
end

--- What a request gets when one of its hooks fails.
---@param hook string
---@param show fun(value: any): string a decision in one line
---@return string|nil text nil where that is the default
function M.on_failure(settings, hook, show)
  local value = settings.script_errors[hook]
  local default = hook == "on_response" and "open" or "fail"
  if value == nil or value == default then
    return nil
  elseif value == "open" then
    return ("script_errors: where %s fails, the request goes on without it"):format(hook)
  elseif value == "fail" then
    return ("script_errors: where %s fails, the response is 500"):format(hook)
  end
  return ("script_errors: where %s fails, the response is that of %s"):format(hook, show(value))
end

--- What holds for every request of the route.
---@param show fun(value: any): string
---@return string[] steps each with its line of the route
function M.of_route(settings, show)
  local steps = {}
  local function add(path, text)
    steps[#steps + 1] = placed(settings, path, text)
  end
  if settings.sandbox then
    add({ "sandbox" }, "sandbox: the route has files below its folder alone, and no programs, ffi "
      .. "or C modules")
  end
  if settings.compress.on then
    add({ "compress" }, compress_text(settings.compress))
  end
  local memory = settings.limits.script_memory
  if memory ~= schema.LIMITS.script_memory[2] then
    add({ "limits", "script_memory" }, ("limits.script_memory: the script may hold %.4g MB in each "
      .. "worker; a hook that needs more fails"):format(memory / 2 ^ 20))
  end
  for _, hook in ipairs(sorted_keys(settings.script_errors)) do
    local text = settings.hooks[hook] and M.on_failure(settings, hook, show)
    if text then
      add({ "script_errors", hook }, text)
    end
  end
  return steps
end

--- When the parts of a response leave, in words.
local function flush_text(flush, settings)
  local most = ("%.4g KB"):format(settings.limits.response_memory / 1024)
  if flush == false then
    return "flush: the response leaves when it is complete, or once " .. most .. " of it wait"
  elseif flush == "headers" then
    return "flush: the head leaves at once, the body when it is complete, or once " .. most
      .. " of it wait"
  end
  return ("flush: the response leaves in parts of %g bytes"):format(
    math.min(units.size(flush), settings.limits.response_memory))
end

--- What holds for a FastCGI decision.
---@param d table the decision
---@param backend table normalized
---@return string[] steps those about settings with their line of the route
function M.of_decision(settings, d, backend)
  local steps = {}
  --- A time of the decision, or else the one of a setting.
  local function add_time(key, setting, path, text)
    local own = d[key] ~= nil and units.duration(d[key])
    local seconds = own or setting
    if seconds > 0 then
      text = text:format(time(seconds))
      steps[#steps + 1] = own and text or placed(settings, path, text)
    end
  end
  add_time("deadline", backend.deadline, { "backends", backend.name, "deadline" },
    "deadline: %s for the whole request, from its first byte to the end of the response; then 504, "
      .. "or 408 while the body is coming")
  add_time("body_deadline", settings.limits.body_deadline, { "limits", "body_deadline" },
    "body_deadline: %s for the body of the request; then 408")
  if d.compress == false then
    steps[#steps + 1] = "compress: not this response"
  elseif d.compress ~= nil then
    steps[#steps + 1] = compress_text(compress.list(d.compress, settings.compress))
  end
  if d.flush ~= nil and d.flush ~= true then
    steps[#steps + 1] = flush_text(d.flush, settings)
  end
  if settings.hooks.on_stderr then
    steps[#steps + 1] = "on_stderr: its decision replaces the response while nothing of that has "
      .. "left, at " .. settings.hook_source.on_stderr
  end
  return steps
end

return M
