-- What wrk sends and reports; read by wrk itself (measure.lua gives the arguments after `--`):
-- METHOD, bytes of the body, number of hosts. The requests are made beforehand and sent in turn, so
-- that consecutive ones belong to different tenants.

local wrk = wrk -- luacheck: globals wrk
local requests = {}
local at = 0

function init(args) -- luacheck: globals init
  local method, size, hosts = args[1], tonumber(args[2]), tonumber(args[3])
  local body, headers
  if size > 0 then
    body = ("a=0123456789&"):rep(math.ceil(size / 13)):sub(1, size)
  end
  for i = 1, hosts do
    headers = { Host = ("t%05d.example"):format(i * (10000 / hosts)) }
    if body then
      headers["Content-Type"] = "application/x-www-form-urlencoded"
    end
    requests[i] = wrk.format(method, nil, headers, body)
  end
end

function request() -- luacheck: globals request
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency) -- luacheck: globals done
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(("bench.requests=%d bench.microseconds=%d bench.errors=%d bench.p50=%d bench.p99=%d\n")
    :format(summary.requests, summary.duration, failed, latency:percentile(50),
      latency:percentile(99)))
end
