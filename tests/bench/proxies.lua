-- The parties of the benchmark: the application (build/tests/responder), and each server with the
-- configuration that peers/ makes for it, so that all do the same: look the folder of the host up
-- among the tenants, make the usual params, pass the request on over a kept connection, no access
-- log. Called by main.lua.

local client = require("tests.bench.client")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local stage = require("tests.support.stage")

local proxies = {}

local TENANTS = 10000
local KEEPALIVE = 64
local LARGE_STEP = 1000 -- every so many tenants one has a file of 1 MB
local FOLDERS, FOLDERS_STEP = 1000, 10 -- who is asked for: the first ones, and every tenth

local DEPS = process.cwd() .. "/build/deps/peers"

---@class Peer
---@field name string
---@field title string
---@field path? string of the program in build/deps/peers
---@field binary? string or in the project
---@field version? string the option that makes it say its version
---@field reload? string the signal with which it loads its configuration again
---@field cannot? fun(case: table): string|nil why it cannot do a case
---@field ready? fun(values: table, children: integer[]): any it says so, beside listening
---@field command fun(values: table, fill: function, program: string): string[] writes what it reads

---@type Peer[]
local PEERS = {}
for _, file in ipairs({ "nginx", "haproxy", "h2o", "lighttpd", "floor", "moongate" }) do
  for _, peer in ipairs(require("tests.bench.peers." .. file)) do
    PEERS[#PEERS + 1] = peer
    PEERS[peer.name] = peer
  end
end

---@class Proxy
---@field name string
---@field address string
---@field process Process
local Proxy = {}
Proxy.__index = Proxy

---@class Application
---@field address string
---@field addresses string[] all of them
local Application = {}
Application.__index = Application

local function fill(template, values)
  return (template:gsub("%%%((%w+)%)", values))
end

local function program(path)
  return path:sub(1, 1) == "/" and path or process.cwd() .. "/" .. path
end

-- MOONGATE, NGINX … name other programs.
local function binary(peer)
  local own = os.getenv(peer.name:upper():gsub("%-", "_"))
  return program(own or peer.binary or "build/deps/peers/" .. peer.path)
end

--- The names of all that can be measured, in the order of the report.
---@return string[]
function proxies.names()
  local list = {}
  for i, peer in ipairs(PEERS) do
    list[i] = peer.name
  end
  return list
end

---@param name string
---@return string
function proxies.title(name)
  return PEERS[name].title
end

--- Why a server is not in a case: what it cannot do, or that this system has no such program.
---@param name string
---@param case table of cases.lua
---@return string|nil
function proxies.cannot(name, case)
  local peer = PEERS[name]
  if not process.read_file(binary(peer)) then
    return peer.path and "is not in build/deps/peers" or "was not built"
  elseif case.only and not case.only[name] then
    return "does the same as elsewhere"
  end
  return peer.cannot and peer.cannot(case) or nil
end

--- Why this server cannot be measured at all, or nil.
---@param name string
---@return string|nil
function proxies.missing(name)
  local path = binary(PEERS[name])
  if not process.read_file(path) then
    return ("no %s at %s; run `make` and `tools/install bench`"):format(name, path)
  end
end

local function environment(name)
  return PEERS[name].path and { LD_LIBRARY_PATH = stage.libraries(DEPS) } or nil
end

--- What is compared, for the report.
---@param names string[]
---@return table<string, string>
function proxies.versions(names)
  local out = {}
  for _, name in ipairs(names) do
    local peer = PEERS[name]
    local path = binary(peer)
    if peer.version and process.read_file(path) then
      local result = process.run({ argv = { path, peer.version }, env = environment(name) })
      out[name] = (result.stdout .. result.stderr):match("%d+%.%d+[%w.]*")
    end
  end
  return out
end

--- Starts the application on a unix socket, or several.
---@param count? integer
---@return Application
function proxies.application(count)
  local dir = process.tempdir("app")
  local self = setmetatable({ addresses = {} }, Application)
  for i = 1, count or 1 do
    self.addresses[i] = ("unix:%s/app%d.sock"):format(dir, i)
  end
  self.address = self.addresses[1]
  self.process = process.spawn({
    argv = { program("build/tests/responder"), unpack(self.addresses) },
    stderr = dir .. "/stderr",
  })
  poll.wait(function()
    assert(self.process:alive(), "build/tests/responder: " .. self.process:ending())
    return net.listening(self.address)
  end, "the application to listen")
  return self
end

function Application:stop()
  self.process:stop()
end

local function under_callgrind(argv, folder)
  local out = { "valgrind", "--tool=callgrind", "--quiet",
    "--callgrind-out-file=" .. folder .. "/callgrind.%p" }
  for _, word in ipairs(argv) do
    out[#out + 1] = word
  end
  return out
end


--- A folder for each tenant that a case asks for, with what is looked up there.
---@param tenants? integer ten thousand by default
---@return string folder of all of them, to be removed by the caller
function proxies.sites(tenants)
  tenants = tenants or TENANTS
  local dir = process.tempdir("sites")
  process.chmod(dir, "755")
  local list = {}
  for i = 1, tenants do
    if i <= FOLDERS or i % FOLDERS_STEP == 0 then
      list[#list + 1] = ("t%05d"):format(i)
    end
  end
  process.run({ argv = { "sh", "-c", "cd \"$0\" && mkdir \"$@\"", dir, unpack(list) } }, 60)
  local line = "/* 16 bytes */\n\n"
  local small, large = line:rep(256), line:rep(65536)
  for _, name in ipairs(list) do
    local folder = dir .. "/" .. name
    process.write_file(folder .. "/index.php", "<?php\n")
    process.write_file(folder .. "/form.php", "<?php\n")
    process.write_file(folder .. "/style.css", small)
    if tonumber(name:sub(2)) % LARGE_STEP == 0 or name == "t00001" then
      process.write_file(folder .. "/large.css", large)
    end
  end
  return dir
end

---@class ProxyOptions
---@field folder? string runs it under callgrind, which writes its counts to this folder
---@field keepalive? integer connections to keep, 64 by default; 0: a connection for each request
---@field root? string one docroot for all tenants, where the scripts really are
---@field route? "docroot"|"root"|"site"|"cached" what is known of a tenant: where its scripts lie
---  for the application (as usual), that they can be looked up here, a whole site of PHP and files,
---  or that replies are kept
---@field sites? string where the folders of the tenants are, if they are anywhere (proxies.sites)
---@field folders? integer how many those are; further tenants share them
---@field tenants? integer how many are in the table, ten thousand by default
---@field case_tenants? integer the same, where their number is what is measured
---@field workers? integer
---@field reloads? boolean it will be asked to load its configuration again
---@field children? integer of PHP-FPM; no more connections than these make sense
---@field backend? string more keys of Moongate's backend
---@field shares? boolean Moongate is told whose share each request is
---@field on_request? string body of Moongate's on_request
---@field before? string statements of Moongate's route before its table
---@field hooks? string further keys of its route
---@field servers? string[] addresses of its servers, instead of the application's

-- The docroot of each tenant: its own, or the one that they share because scripts lie there.
local function docroots_of(values)
  local list = {}
  for i = 1, values.tenants do
    list[i] = values.root or ("%s/t%05d"):format(values.sites, (i - 1) % values.folders + 1)
  end
  return list
end

local function values_of(application, options)
  local values = {
    dir = process.tempdir("bench"),
    deps = DEPS,
    address = "127.0.0.1:" .. net.free_port(),
    application = application.address,
    socket = application.address:match("^unix:(.*)$"),
    servers = { application.address },
    keepalive = KEEPALIVE, workers = 1, route = "docroot", sites = "/srv/tenants", hooks = "",
    backend = "", before = "", tenants = TENANTS, folders = TENANTS,
  }
  for key, value in pairs(options or {}) do
    values[key] = value
  end
  values.docroots = docroots_of(values)
  return values
end

--- Starts a server and waits until it listens, and its worker is there.
---@param name string
---@param application Application or whatever else has its address
---@param options? ProxyOptions
---@return Proxy
function proxies.start(name, application, options)
  local peer, values = PEERS[name], values_of(application, options)
  local argv = peer.command(values, fill, binary(peer))
  local self = setmetatable({
    name = name, peer = peer, values = values, address = values.address, dir = values.dir,
  }, Proxy)
  self.process = process.spawn({
    argv = values.folder and under_callgrind(argv, values.folder) or argv,
    env = environment(name),
    cwd = self.dir,
    stdout = self.dir .. "/stdout",
    stderr = self.dir .. "/stderr",
  })
  poll.wait(function()
    assert(self.process:alive(), self:problem())
    return net.listening(self.address)
      and (not peer.ready or peer.ready(values, process.children(self.process.pid)))
  end, name .. " to serve", values.folder and 120 or 60)
  return self
end

--- All of its processes now; the last one serves.
---@return integer[]
function Proxy:pids()
  return { self.process.pid, unpack(process.children(self.process.pid)) }
end

--- What it answers to one request, whole. Raises an error unless the status is 200.
---@param path string
---@param host string
---@param body? string
---@return string
function Proxy:ask(path, host, body)
  local conn = client.open(self.address)
  local ok, text = pcall(conn.ask, conn, path, host, body)
  conn:close()
  assert(ok, ("%s: %s: %s\n%s"):format(self.name, path, text, self:problem()))
  return text
end

function Proxy:problem()
  local out = { self.name .. ": " .. self.process:ending() }
  for _, name in ipairs({ "/stderr", "/stdout", "/error.log" }) do
    out[#out + 1] = process.read_file(self.dir .. name)
  end
  return table.concat(out, "\n")
end

--- Lets it load its configuration again; of Moongate it is known when that has ended.
function Proxy:reload()
  local path = self.dir .. "/stderr"
  local from = #(process.read_file(path) or "")
  self.process:kill(self.peer.reload)
  if not self.name:find("moongate", 1, true) then
    return
  end
  poll.wait(function()
    local said = (process.read_file(path) or ""):sub(from + 1)
    assert(not said:find("the reload failed", 1, true), said)
    return said:find("generation %d+ serves")
  end, "the reload", 30)
end

--- Ends it and removes its files.
function Proxy:stop()
  self.process:stop(3)
  process.remove(self.dir)
end

return proxies
