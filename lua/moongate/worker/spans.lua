-- moongate.worker.spans owns the export of spans: batches of them as OTLP/HTTP in JSON, to a
-- collector or as lines of a file (opentelemetry-proto, "OTLP/HTTP Request"). Called by core/ when
-- spans begin to wait; it runs beside the requests until none are left.

local http = require("moongate.http")
local json = require("moongate.base.json")
local moongate = require("moongate")
local sorted_keys = require("moongate.base.keys").sorted

local _, core = pcall(require, "moongate.core")

local M = {}

local BATCH = 262144 -- bytes of spans in one request, or line
local TRIES = 5
local ANSWER = "64k"
local SAY_EVERY = 60 -- seconds between two lines about the same trouble

--- What a collector says of a request that may be sent again (OTLP/HTTP, "Retryable Response
--- Codes").
local AGAIN = { [429] = true, [502] = true, [503] = true, [504] = true }

local function attribute(key, value)
  return ('{"key":%s,"value":{"stringValue":%s}}'):format(json.encode(key), json.encode(value))
end

--- The text before the spans of a batch: who says so.
---@param settings table `tracing`, normalised
---@return string
function M.head(settings)
  local parts = { attribute("service.name", settings.service),
    attribute("telemetry.sdk.name", "moongate"), attribute("telemetry.sdk.language", "c"),
    attribute("telemetry.sdk.version", moongate.version) }
  for _, key in ipairs(sorted_keys(settings.resource)) do
    parts[#parts + 1] = attribute(key, settings.resource[key])
  end
  return ('{"resourceSpans":[{"resource":{"attributes":[%s]},"scopeSpans":[{"scope":{"name":'
    .. '"moongate","version":%s},"spans":['):format(table.concat(parts, ","),
    json.encode(moongate.version))
end

local TAIL = "]}]}]}"

--- How many spans of a batch the collector has rejected though it took the rest.
local function rejected(body, count)
  local answer = json.decode(body)
  local success = type(answer) == "table" and answer.partialSuccess
  local number = type(success) == "table" and tonumber(success.rejectedSpans) or 0
  return number > 0 and math.min(math.floor(number), count) or 0
end

--- Seconds until a batch is sent again: what the collector says, within bounds, else twice as long
--- each time.
local function pause(answer, try)
  local asked = answer and tonumber((answer.headers["retry-after"] or ""):match("^%d+$"))
  return math.min(asked or 2 ^ (try - 1), 30)
end

---@class moongate.worker.Spans
---@field functions table of core/script/spans.c
---@field settings table
---@field send fun(body: string): boolean|nil, string|nil, table|nil true, or why not and the answer
local Exporter = {}
Exporter.__index = Exporter

--- Says what is wrong, not for each batch.
function Exporter:say(problem, count)
  local now = moongate.now()
  M.lost = (M.lost or 0) + count
  if M.said and now < M.said + SAY_EVERY then
    return
  end
  moongate.log("warn", "tracing.export: %d spans are lost: %s: %s", M.lost, self.settings.export,
    problem)
  M.said, M.lost = now, 0
end

--- One POST.
---@return table|nil answer
---@return string|nil problem
local function post(settings, body)
  local headers = { ["Content-Type"] = "application/json" }
  for name, value in pairs(settings.headers) do
    headers[name] = value
  end
  return http.request({
    url = settings.export, method = "POST", headers = headers, body = body, limit = ANSWER,
    timeout = settings.timeout, keepalive = "10s",
  })
end

--- Sends a batch to a collector, several times if need be.
function Exporter:post(body, count)
  local problem
  for try = 1, TRIES do
    local answer, reason = post(self.settings, body)
    if answer and answer.status >= 200 and answer.status < 300 then
      local lost = rejected(answer.body, count)
      self.functions.count("exported", count - lost)
      self.functions.count("rejected", lost)
      return
    end
    problem = answer and ("the collector answers %d"):format(answer.status) or reason
    if answer and not AGAIN[answer.status] then
      self.functions.count("rejected", count)
      self:say(problem, count)
      return
    elseif try < TRIES and self.sleep(pause(answer, try)) then
      break -- another generation serves: this one is to end
    end
  end
  self.functions.count("failed", count)
  self:say(problem, count)
end

--- Writes a batch as a line.
function Exporter:append(body, count)
  local ok, reason = self.functions.append(self.settings.export, body .. "\n")
  self.functions.count(ok and "exported" or "failed", count)
  if not ok then
    self:say(reason, count)
  end
end

--- Exports until no spans are left.
function Exporter:run()
  local head = M.head(self.settings)
  local to_file = self.settings.export:sub(1, 1) == "/"
  repeat
    self.sleep(self.settings.interval)
    local some = false
    local spans, count = self.functions.take(BATCH)
    while spans do
      some = true
      local body = head .. spans .. TAIL
      if to_file then
        self:append(body, count)
      else
        self:post(body, count)
      end
      spans, count = self.functions.take(BATCH)
    end
  until not some
end

--- Begins to export, beside the requests.
---@param functions table take, count, rest, append of core/script/spans.c
---@param settings table `tracing`, normalised
---@param sleep nil|fun(seconds: number): boolean|nil true: it is time to end
function M.wake(functions, settings, sleep)
  local exporter = setmetatable({
    functions = functions, settings = settings, sleep = sleep or core.sleep_until_retired,
  }, Exporter)
  moongate.spawn(function()
    local ok, problem = pcall(exporter.run, exporter)
    functions.rest()
    if not ok then
      error(problem, 0)
    end
  end)
end

return M
