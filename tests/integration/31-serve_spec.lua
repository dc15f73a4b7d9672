-- `moongate serve DIR` and `moongate run ROUTE --php ADDR`: a folder becomes a site with a PHP of
-- its own, which ends with the server however that ends.

local http = require("tests.support.http")
local net = require("tests.support.net")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local FILES = {
  ["index.php"] = "<?php echo 'front ', $_SERVER['REQUEST_URI'], \"\\n\";",
  ["page.php"] = "<?php echo 'page ', $_SERVER['PATH_INFO'] ?? '-', \"\\n\";",
  ["style.css"] = "a { color: red }\n",
  ["docs/index.html"] = "<p>docs</p>\n",
}

-- The pid of the PHP-FPM that the server has started, and of its children.
local function php_pids(pid, found)
  found = found or {}
  for _, child in ipairs(process.children(pid)) do
    local name = process.read_file(("/proc/%d/comm"):format(child)) or ""
    if name:find("^php") then
      found[#found + 1] = child
    end
    php_pids(child, found)
  end
  return found
end

local function gone(pids)
  for _, pid in ipairs(pids) do
    local state = (process.read_file(("/proc/%d/stat"):format(pid)) or ""):match("%) (%a)")
    if state and state ~= "Z" then
      return false
    end
  end
  return true
end

local function check_pages(address)
  local front = http.get(address, "/?a=b")
  assert.equal(200, front.status)
  assert.equal("front /?a=b\n", front.body)
  assert.equal("page /x/y\n", http.get(address, "/page.php/x/y").body)
  assert.equal("a { color: red }\n", http.get(address, "/style.css").body)
  assert.equal("<p>docs</p>\n", http.get(address, "/docs/").body)
  assert.equal(301, http.get(address, "/docs").status)
  assert.equal(404, http.get(address, "/nothing").status)
end

-- Stops a server; its own PHP must be there before, and gone afterwards.
local function stop_with_php(gate)
  local pids = php_pids(gate.process.pid)
  assert.truthy(#pids >= 1)
  gate:stop()
  poll.wait(function()
    return gone(pids)
  end, "the end of the private PHP-FPM", 3)
end

describe("serve", function()
  it("makes a site of a folder, with a PHP of its own", function()
    local gate = server.start({ serve = ".", files = FILES })
    check_pages(gate.address)
    gate:wait_log("http://" .. gate.address:gsub("%p", "%%%0"))
    stop_with_php(gate)
  end)

  for _, signal in ipairs({ "INT", "KILL" }) do
    it("leaves no PHP behind after " .. signal, function()
      local gate = server.start({ serve = ".", files = FILES })
      assert.equal(200, http.get(gate.address, "/").status)
      local all = php_pids(gate.process.pid)
      assert.truthy(#all >= 1)
      for _, pid in ipairs(gate:workers()) do
        all[#all + 1] = pid
      end
      gate.process:kill(signal)
      assert.truthy(gate.process:wait(10))
      poll.wait(function()
        return gone(all)
      end, "the end of everything that was started", 5)
      assert.is_nil(net.try_connect(gate.address))
    end)
  end

  it("uses a PHP that is running", function()
    local fpm = php.start({ root = process.tempdir("site") })
    local gate = server.start({ serve = ".", files = FILES, args = { "--backend", fpm.address } })
    finally(function()
      fpm:stop()
      gate:stop()
    end)
    check_pages(gate.address)
    assert.equal(0, #php_pids(gate.process.pid))
  end)

  it("starts under a supervisor, where messages go to a socket", function()
    local here, there = process.socketpair()
    local site = stage.files(FILES)
    local address = "127.0.0.1:" .. net.free_port()
    local child = process.spawn({
      argv = { server.binary(), "serve", site, "--listen", address },
      stdout = there, stderr = there, env = { TMPDIR = process.tempdir("tmp") },
    })
    process.close(there)
    poll.wait(function()
      assert(child:alive(), "serve: " .. child:ending())
      return net.listening(address)
    end, "the server to listen")
    assert.equal(200, http.get(address, "/").status)
    assert.True(child:stop())
    process.close(here)
  end)

  it("says which folder is not there", function()
    local result = server.command({ "serve", "/nowhere/at/all" })
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find("/nowhere/at/all", 1, true))
  end)

  it("says that its port is taken, and by whom", function()
    local gate = server.start({ serve = ".", files = FILES })
    local result = server.command({ "serve", ".", "--listen", gate.address }, { cwd = gate.dir })
    assert.equal(1, result.code)
    assert.truthy(result.stderr:find(gate.address, 1, true), result.stderr)
    assert.truthy(result.stderr:find("in use", 1, true), result.stderr)
    local owners = gate:workers()
    owners[#owners + 1] = gate.process.pid
    local named = false
    for _, pid in ipairs(owners) do
      named = named or result.stderr:find("%f[%d]" .. pid .. "%f[%D]") ~= nil
    end
    assert.True(named, result.stderr)
    gate:stop()
  end)
end)

describe("run --php", function()
  it("starts a PHP on the address it is told, and ends it", function()
    local socket = process.tempdir("sock")
    if process.is_root() then
      process.chmod(socket, "777")
    end
    local address = "unix:" .. socket .. "/php.sock"
    local gate = server.start({
      files = FILES,
      args = { "--php", address },
      route = [[
local php = require("moongate.php")
local here = debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$")
return {
  backends = { app = os.getenv("MOONGATE_PHP") },
  on_request = php.site { root = here, backend = "app" },
}
]],
    })
    check_pages(gate.address)
    stop_with_php(gate)
  end)
end)
