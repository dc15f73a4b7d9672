-- An authority of ACME (RFC 8555) for scenarios: Pebble, the server for tests of Let's Encrypt. It
-- looks up names at a DNS server of ours, and fetches the challenges from the Moongate under test.
-- Its clients are Debian's certbot and lego. tools/install unpacks all of them into
-- build/deps/acme.
--
--   local authority = acme.start({ ["site.test"] = { "127.0.0.1" } }, port of http-01)
--   authority:certbot { "certonly", "--webroot", "-w", DIR, "-d", "site.test" }
--   tls.curl { "--cacert", authority:root(), ... }
--   authority:stop()

local dns = require("tests.support.dns")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local tls = require("tests.support.tls")

local acme = {}

---@class Acme
---@field url string of its directory
---@field dir string its files, and those of its clients
local Acme = {}
Acme.__index = Acme

local ROOT = process.cwd() .. "/build/deps/acme"

-- No sleeps between attempts, no nonce refused by chance, each order validated anew.
local SETTINGS = {
  PEBBLE_VA_NOSLEEP = "1", PEBBLE_WFE_NONCEREJECT = "0", PEBBLE_AUTHZREUSE = "0",
  http_proxy = false, https_proxy = false, HTTP_PROXY = false, HTTPS_PROXY = false,
}

local CONFIG = [[
{ "pebble": {
  "listenAddress": "127.0.0.1:%d", "managementListenAddress": "127.0.0.1:%d",
  "certificate": "%s", "privateKey": "%s", "httpPort": %d, "tlsPort": 1,
  "ocspResponderURL": "", "externalAccountBindingRequired": false
} }
]]

--- Starts it with these names, and waits until it answers.
---@param names table<string, string[]> name below `.test` -> addresses
---@param http_port integer where it fetches challenges
---@return Acme
function acme.start(names, http_port)
  local dir = process.tempdir("acme")
  local ca = tls.authority("ACME's own")
  local pair = ca:issue({ "localhost" })
  local port, management = net.free_port(), net.free_port()
  local self = setmetatable({
    dir = dir, ca = ca.cert, url = ("https://localhost:%d/dir"):format(port),
    management = ("https://localhost:%d"):format(management), dns = dns.start(names),
  }, Acme)
  process.write_file(dir .. "/pebble.json",
    CONFIG:format(port, management, pair.cert, pair.key, http_port))
  self.process = process.spawn({
    argv = { ROOT .. "/usr/bin/pebble", "-config", dir .. "/pebble.json", "-strict=false",
      "-dnsserver", self.dns.address },
    env = SETTINGS, cwd = dir, stdout = dir .. "/log", stderr = dir .. "/log",
  })
  local ok, problem = pcall(poll.wait, function()
    assert(self.process:alive(), "it has ended")
    return net.listening("127.0.0.1:" .. port) and net.listening("127.0.0.1:" .. management)
  end, "pebble to listen")
  if not ok then
    self:stop()
    error(("pebble: %s:\n%s"):format(problem, self:log()), 2)
  end
  return self
end

--- What it has said.
function Acme:log()
  return process.read_file(self.dir .. "/log") or ""
end

--- The path of the root certificate that all its certificates lead to.
---@return string
function Acme:root()
  local path = self.dir .. "/root.pem"
  local text, code, problem = tls.curl({ "--cacert", self.ca, self.management .. "/roots/0" })
  assert(code == 0, problem)
  process.write_file(path, text)
  return path
end

-- Runs a client to its end, which must be a good one.
local function run(self, argv, env)
  env.HOME, env.NO_PROXY, env.no_proxy = self.dir, "*", "*"
  local result = process.run({ argv = argv, env = env, cwd = self.dir }, 300)
  if result.code ~= 0 then
    error(("%s: %s%s\npebble: %s"):format(table.concat(argv, " "), result.stdout, result.stderr,
      self:log()), 3)
  end
  return result.stdout .. result.stderr
end

--- Runs certbot as any user would, with its folders below `dir`: the certificates are in live/.
---@param args string[]
---@return string said
function Acme:certbot(args)
  local argv = { "python3", ROOT .. "/usr/bin/certbot", "--non-interactive", "--server", self.url,
    "--config-dir", self.dir, "--work-dir", self.dir .. "/work", "--logs-dir", self.dir .. "/logs" }
  for _, word in ipairs(args) do
    argv[#argv + 1] = word
  end
  return run(self, argv, {
    PYTHONPATH = ROOT .. "/usr/lib/python3/dist-packages", REQUESTS_CA_BUNDLE = self.ca,
  })
end

--- Runs lego, with its folder below `dir`: the certificates are in lego/certificates/.
---@param args string[]
---@return string said
function Acme:lego(args)
  local argv = { ROOT .. "/usr/bin/lego", "--server", self.url, "--path", self.dir .. "/lego" }
  for _, word in ipairs(args) do
    argv[#argv + 1] = word
  end
  return run(self, argv, { LEGO_CA_CERTIFICATES = self.ca })
end

--- Ends it; safe to call twice.
function Acme:stop()
  self.dns:stop()
  if self.process then
    self.process:stop(5)
  end
end

return acme
