-- moongate.route.log_format owns which formats the access log may have: names of whole formats, and
-- texts with named fields, which core/http/access.c compiles. Called by route.values.

local suggest = require("moongate.base.suggest")

local M = {}

local MOST_BYTES, MOST_FIELDS = 4096, 60

-- core/http/access.c has the same list.
local FIELDS = {
  app_status = true, attempts = true, backend = true, bytes = true, bytes_in = true,
  bytes_out = true, cache = true, cache_reason = true, client = true, connect = true,
  duration = true, error = true,
  first_byte = true, generation = true, host = true, id = true, listener = true, method = true,
  port = true, queue = true, referer = true, request = true, request_length = true, scheme = true,
  server = true, span_id = true, status = true, tenant = true, time = true, time_iso8601 = true,
  time_local = true, trace_id = true, uri = true, user = true, user_agent = true, version = true,
}

-- What nginx and Caddy call them.
local OTHERS = {
  remote_addr = "client", remote_user = "user", body_bytes_sent = "bytes", bytes_sent = "bytes_out",
  request_time = "duration", request_uri = "uri", request_method = "method",
  server_protocol = "version", server_port = "port", msec = "time", request_id = "id",
  upstream_addr = "server", upstream_connect_time = "connect", server_name = "host",
  otel_trace_id = "trace_id", otel_span_id = "span_id",
  upstream_header_time = "first_byte", upstream_response_time = "first_byte",
}

--- Formats that have a name and are made of fields.
M.NAMED = {
  vcombined = '$host:$port $client - $user [$time_local] "$request" $status $bytes "$referer" '
    .. '"$user_agent" $duration',
}

--- The names of all fields, in the order of the alphabet.
---@return string[]
function M.fields()
  local names = {}
  for name in pairs(FIELDS) do
    names[#names + 1] = name
  end
  table.sort(names)
  return names
end

local function field_problem(name)
  if FIELDS[name] or name:match("^http_[%l%d_]+$") then
    return nil
  elseif OTHERS[name] then
    return ("there is no field '$%s'; here it is '$%s'"):format(name, OTHERS[name])
  elseif name == "" then
    return "a '$' without the name of a field; the sign itself is '$$'"
  end
  return ("there is no field '$%s'%s"):format(suggest.name(name), suggest.hint(name, FIELDS))
end

--- What is wrong with a format that is a text with fields.
---@param text string
---@return string|nil problem
local function problem_of(text)
  if #text > MOST_BYTES then
    return ("a format has at most %d bytes"):format(MOST_BYTES)
  elseif text:gsub("\t", ""):find("%c") then
    return "a format has no control bytes but tabs: a request is one line"
  end
  local fields, problem = 0, nil
  for braces, name in text:gsub("%$%$", ""):gmatch("%$({?)([%l%d_]*)") do
    fields = fields + 1
    problem = problem or field_problem(name)
    if braces == "{" and not text:find("${" .. name .. "}", 1, true) then
      problem = problem or ("'${%s' has no '}'"):format(name)
    end
  end
  if fields > MOST_FIELDS then
    return ("a format has at most %d fields"):format(MOST_FIELDS)
  end
  return problem
end

--- The checker of `log.format`.
---@param value any
---@return string|function|nil normalized
---@return string|nil expected
---@return string|nil problem
function M.check(value)
  if type(value) == "function" or value == "combined" or value == "json" then
    return value
  elseif M.NAMED[value] then
    return M.NAMED[value]
  elseif type(value) == "string" and value:find("$", 1, true) then
    local problem = problem_of(value)
    return not problem and value or nil, nil, problem
  end
  return nil, '"combined", "vcombined", "json", a text with fields such as \'$client "$request"\', '
    .. "or a function"
end

return M
