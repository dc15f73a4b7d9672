-- examples/multi-php before several PHPs, for the scenarios of `make test` (where pools of one
-- PHP-FPM stand for versions) and of `make test-multiphp` (where each is a PHP of its own).

local http = require("tests.support.http")
local load = require("tests.support.load")
local poll = require("tests.support.poll")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local multiphp = {}

-- A page that brings back a token, and one that waits for a file after its first line.
local PAGES = {
  ["acme/token.php"] = [[<?php echo "token=", $_GET["t"], ";", getenv("POOL"), "\n";]],
  ["acme/held.php"] = [[<?php
    echo getenv("POOL"), " begins\n";
    flush();
    while (!file_exists(__DIR__ . "/go")) {
      usleep(10000);
      clearstatcache();
    }
    echo getenv("POOL"), " ends\n";]],
}

---@class MultiPhp
---@field gate Server
---@field docroot string of all sites, as PHP has them
local MultiPhp = {}
MultiPhp.__index = MultiPhp

--- What the route takes instead of its own addresses.
---@param name string of a backend, "php74"
---@return string variable
local function variable(name)
  return "MOONGATE_PHP_" .. name:match("%d+$")
end

--- Starts the example.
---@param dir string a copy of it, readable by everybody
---@param docroot string of all sites, as each PHP has them
---@param addresses table<string, string> backend -> address of its PHP-FPM
---@return MultiPhp
function multiphp.start(dir, docroot, addresses)
  local env = { SITES = docroot }
  for name, address in pairs(addresses) do
    env[variable(name)] = address
  end
  local gate = server.start({ route = dir .. "/route.lua", env = env, workers = 2 })
  return setmetatable({ gate = gate, docroot = docroot }, MultiPhp)
end

--- The pages that `move` asks for, into a folder with the sites.
---@param sites string
function multiphp.add_pages(sites)
  stage.write(sites, PAGES)
end

---@class MultiPhpAnswer
---@field version string PHP_VERSION
---@field pool string POOL of its environment
---@field dir string __DIR__ of the page
---@field docroot string DOCUMENT_ROOT

local function answer_of(self, host, path)
  local res = http.request(self.gate.address, { path = path, host = host })
  local version, pool, dir, docroot =
    res.body:match("^PHP (%S+), pool (%S+), in (%S+) below (%S+)\n$")
  return version and { version = version, pool = pool, dir = dir, docroot = docroot }, res
end

--- What a page of the example says of itself.
---@param host string
---@param path string
---@return MultiPhpAnswer
function MultiPhp:ask(host, path)
  local answer, res = answer_of(self, host, path)
  if not answer then
    error(("%s%s: %d %q; the log:\n%s"):format(host, path, res.status, res.body,
      self.gate:errors()), 2)
  end
  return answer
end

--- Waits until all workers have a page run by a pool: a connection may come to any of them.
function MultiPhp:wait_pool(host, path, pool)
  poll.wait(function()
    for _ = 1, 20 do
      local answer = answer_of(self, host, path)
      if not answer or answer.pool ~= pool then
        return false
      end
    end
    return true
  end, ("%s%s to be run by %s"):format(host, path, pool))
end

--- Puts another file in the place of tenants.csv, in one step.
---@param versions table<string, string> host -> version; their tenant is acme
function MultiPhp:set_versions(versions)
  local lines = {}
  for host, version in pairs(versions) do
    lines[#lines + 1] = ("%s,acme,%s\n"):format(host, version)
  end
  local path = self.gate.route_path:gsub("route%.lua$", "tenants.csv")
  self.gate:rewrite("host,tenant,version\n" .. table.concat(lines), path)
end

--- What visitors ask meanwhile: some of it can't be asked a second time.
local function visitors(address)
  local host, path = "acme.localhost", "/token.php?t=@"
  return load.start(address, {
    timeout = 60,
    { name = "pages", clients = 2, host = host, path = path },
    { name = "forms", clients = 1, host = host, path = path, method = "POST", body = 4000 },
    { name = "others", clients = 1, host = host, path = path, close = true },
  })
end

--- Raises an error unless the tenant moves, the request that is under way ends where it has begun,
--- and each visitor gets a page.
local function move(self, run, held, old, new, to, write)
  self:wait_pool("acme.localhost", "/", old)
  self:set_versions({ ["acme.localhost"] = to })
  self:wait_pool("acme.localhost", "/", new)
  write("go")
  local rest = held.conn:read_all()
  if not rest:find(old .. " ends\n", 1, true) then
    error("the request that was under way ended with " .. rest, 0)
  end
  local result = run:stop()
  for _, name in ipairs({ "pages", "forms", "others" }) do
    load.assert_all(result[name])
  end
end

--- Moves a tenant from one version to another while its visitors ask, and raises an error where one
--- of them gets no whole answer of a page. `add_pages` comes first.
---@param from string version, "7.4"
---@param to string
---@param write fun(name: string) makes a file in the folder of acme, for PHP to see
function MultiPhp:move(from, to, write)
  local old, new = "php" .. from:gsub("%.", ""), "php" .. to:gsub("%.", "")
  self:set_versions({ ["acme.localhost"] = from })
  self:wait_pool("acme.localhost", "/", old)
  local held = http.open(self.gate.address)
  held:send({ path = "/held.php", host = "acme.localhost", headers = { Connection = "close" } })
  held.conn:read_until(old .. " begins\n")
  local run = visitors(self.gate.address)
  local ok, problem = pcall(move, self, run, held, old, new, to, write)
  run:abandon()
  held:close()
  if not ok then
    write("go")
    error(problem, 2)
  end
end

function MultiPhp:stop()
  self.gate:stop()
end

return multiphp
