-- An OTLP/HTTP collector for tests: it takes requests one by one, answers as the scenario says, and
-- checks strictly what they bring.

local json = require("moongate.base.json")
local socket = require("socket")

local collector = {}

---@class Collector
---@field url string for `tracing.export`
local Collector = {}
Collector.__index = Collector

local PATIENCE = 30

---@return Collector
function collector.start()
  local listener = assert(socket.bind("127.0.0.1", 0, 64))
  local self = setmetatable({ listener = listener }, Collector)
  self.port = select(2, listener:getsockname())
  self.url = ("http://127.0.0.1:%d/v1/traces"):format(self.port)
  return self
end

function Collector:stop()
  self:hang_up()
  self.listener:close()
end

function Collector:hang_up()
  if self.conn then
    self.conn:close()
    self.conn = nil
  end
end

--- The next request: on the kept connection, or a new one.
---@param seconds? number
---@return table|nil request first, headers, body; nil: none came
function Collector:take(seconds)
  local first
  while not first do
    local ready = socket.select({ self.conn or self.listener, self.listener }, nil,
      seconds or PATIENCE)
    if #ready == 0 then
      return nil
    end
    if self.conn then
      self.conn:settimeout(PATIENCE)
      first = self.conn:receive("*l")
    end
    if not first then -- the sender has closed it
      self:hang_up()
      self.listener:settimeout(seconds or PATIENCE)
      self.conn = assert(self.listener:accept())
      self.conn:settimeout(PATIENCE)
      first = self.conn:receive("*l")
    end
  end
  local headers = {}
  for line in function() return self.conn:receive("*l") end do
    if line == "" then
      break
    end
    local name, value = line:match("^([^:]+):%s*(.*)$")
    headers[name:lower()] = value
  end
  local body = assert(self.conn:receive(tonumber(headers["content-length"])))
  return { first = first, headers = headers, body = body }
end

--- Answers the request that was taken.
---@param status integer
---@param headers? string lines
---@param body? string
function Collector:answer(status, headers, body)
  body = body or "{}"
  local head = "HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n"
  self.conn:send(head:format(status, #body, headers or "") .. body)
end

local KINDS = { [1] = true, [2] = true, [3] = true }

local function check_value(value)
  local count = 0
  for kind, content in pairs(value) do
    count = count + 1
    assert(kind == "stringValue" and type(content) == "string"
      or kind == "intValue" and type(content) == "string" and content:match("^%d+$"), kind)
  end
  assert(count == 1, "a value of one kind")
end

--- A list of { key, value } as a table.
local function attributes(list)
  local found = {}
  for _, one in ipairs(list) do
    assert(type(one.key) == "string" and found[one.key] == nil, one.key)
    check_value(one.value)
    found[one.key] = one.value.stringValue or tonumber(one.value.intValue)
  end
  return found
end

local function check_span(span)
  assert(#span.traceId == 32 and span.traceId:match("^%x+$") and span.traceId:find("[^0]"))
  assert(#span.spanId == 16 and span.spanId:match("^%x+$") and span.spanId:find("[^0]"))
  assert(KINDS[span.kind] and type(span.name) == "string" and span.name ~= "")
  for _, key in ipairs({ "startTimeUnixNano", "endTimeUnixNano" }) do
    assert(type(span[key]) == "string" and span[key]:match("^%d+$") and #span[key] == 19, key)
  end
  assert(span.startTimeUnixNano <= span.endTimeUnixNano, span.name) -- of one length
  span.attributes = attributes(span.attributes)
  assert(span.status.code == nil or span.status.code == 2)
end

--- Whether a parent lasts from before its child to behind it.
local function check_parent(span, parent)
  assert(span.traceId == parent.traceId, "a trace of its own")
  assert(parent.startTimeUnixNano <= span.startTimeUnixNano
    and span.endTimeUnixNano <= parent.endTimeUnixNano, span.name .. " within " .. parent.name)
end

---@class Trace
---@field root table the span of the request
---@field spans table<string, table[]> by name, in their order
---@field resource table

--- The requests that a body, or a line of a file, tells of. Raises an error for what is not OTLP,
--- or no tree.
---@param body string
---@return Trace[]
function collector.traces(body)
  local data, problem = json.decode(body)
  assert(data, problem)
  assert(#data.resourceSpans == 1 and #data.resourceSpans[1].scopeSpans == 1)
  local resource = attributes(data.resourceSpans[1].resource.attributes)
  local scope = data.resourceSpans[1].scopeSpans[1]
  assert(scope.scope.name == "moongate" and type(scope.scope.version) == "string")
  local by_id, traces, roots = {}, {}, {}
  for _, span in ipairs(scope.spans) do
    check_span(span)
    assert(not by_id[span.spanId], "an id twice")
    by_id[span.spanId] = span
  end
  for _, span in ipairs(scope.spans) do
    local parent = span.parentSpanId and by_id[span.parentSpanId]
    if span.kind == 2 then
      assert(not parent, "a request within a request")
      roots[span.spanId] = { root = span, spans = {}, resource = resource }
      traces[#traces + 1] = roots[span.spanId]
    else
      check_parent(span, assert(parent, span.name .. " without a parent"))
    end
  end
  for _, span in ipairs(scope.spans) do
    local root = span
    while root.kind ~= 2 do
      root = by_id[root.parentSpanId]
    end
    local spans = roots[root.spanId].spans
    spans[span.name] = spans[span.name] or {}
    table.insert(spans[span.name], span)
  end
  return traces
end

--- The traces of the next request that comes, which is answered well.
---@param seconds? number
---@return Trace[]|nil nil: none came
---@return table|nil request
function Collector:traces(seconds)
  local request = self:take(seconds)
  if not request then
    return nil
  end
  self:answer(200)
  return collector.traces(request.body), request
end

--- The first trace whose request has this path, and no other before it.
---@param path string
---@return Trace
function Collector:trace(path)
  for _ = 1, 20 do
    for _, trace in ipairs(assert(self:traces(), "no spans came")) do
      if trace.root.attributes["url.path"] == path then
        return trace
      end
    end
  end
  error("no spans of " .. path)
end

return collector
