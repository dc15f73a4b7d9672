-- What /metrics says: read from the control listener, looked at by promtool, and taken apart. And a
-- Prometheus of a test's own, unpacked by tools/install into build/deps, on a free port of the
-- loopback and in a temporary folder.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")

local metrics = {}

local BIN = process.cwd() .. "/build/deps/prometheus/usr/bin/"

--- The page.
---@param address string of the control listener
---@param accept? string
---@return string text
---@return HttpResponse res
function metrics.fetch(address, accept)
  local res = http.get(address, "/metrics", { Accept = accept })
  assert(res.status == 200, res.status .. ": " .. res.body)
  return res.body, res
end

--- The samples of a page in Prometheus' own format.
---@param text string
---@return table<string, number> samples by name and labels, as they are written
function metrics.samples(text)
  local samples = {}
  for line in text:gmatch("[^\n]+") do
    if not line:find("^#") then
      local head, value = line:match("^(.*) (%S+)$")
      assert(head and not samples[head], "a bad sample, or one that is there twice: " .. line)
      samples[head] = assert(tonumber((value:gsub("^%+Inf$", "inf"))), line)
    end
  end
  return samples
end

--- The names of the families on a page.
---@param text string
---@return table<string, string> kinds by name
function metrics.families(text)
  local kinds = {}
  for name, kind in text:gmatch("# TYPE (%S+) (%S+)") do
    kinds[name] = kind
  end
  return kinds
end

--- Runs promtool.
---@param argv string[]
---@param input? string
---@return RunResult
function metrics.promtool(argv, input)
  return process.run({ argv = { BIN .. "promtool", unpack(argv) }, input = input })
end

---@class Prometheus
---@field address string
local Prometheus = {}
Prometheus.__index = Prometheus

--- Starts a Prometheus that scrapes one instance twice a second.
---@param target string "127.0.0.1:port"
---@param rules? string path of a file of alerts
---@return Prometheus
function metrics.prometheus(target, rules)
  local dir, port = process.tempdir("prom"), net.free_port()
  local self = setmetatable({ dir = dir, address = "127.0.0.1:" .. port }, Prometheus)
  process.write_file(dir .. "/prometheus.yml", ([[
global: { scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms }
rule_files: [ %s ]
scrape_configs:
  - job_name: moongate
    static_configs: [ { targets: [ %q ] } ]
]]):format(rules and ("%q"):format(rules) or "", target))
  self.process = process.spawn({
    argv = {
      BIN .. "prometheus", "--config.file=" .. dir .. "/prometheus.yml",
      "--storage.tsdb.path=" .. dir .. "/data", "--web.listen-address=" .. self.address,
      "--log.level=warn",
    },
    cwd = dir, stdout = dir .. "/log", stderr = dir .. "/log",
  })
  poll.wait(function()
    assert(self.process:alive(), "prometheus: " .. (process.read_file(dir .. "/log") or ""))
    return net.listening(self.address) and http.get(self.address, "/-/ready").status == 200
  end, "Prometheus to be ready")
  return self
end

--- An answer of its API.
---@param path string
---@return table data
function Prometheus:ask(path)
  local res = http.get(self.address, "/api/v1/" .. path)
  local answer = assert(json.decode(res.body), res.body)
  assert(answer.status == "success", res.body)
  return answer.data
end

--- The result of an expression.
---@param expression string
---@return table[] result list of { metric = labels, value = { time, text } }
function Prometheus:query(expression)
  local escaped = expression:gsub("[^%w_]", function(char)
    return ("%%%02x"):format(char:byte())
  end)
  return self:ask("query?query=" .. escaped).result
end

--- What it wrote to its log.
---@return string
function Prometheus:log()
  return process.read_file(self.dir .. "/log") or ""
end

--- Ends it; safe to call twice.
function Prometheus:stop()
  self.process:stop(10)
end

return metrics
