-- What a person is told when a server cannot start, and what starts all the same: the script's own
-- faults, folders that the workers may not enter, addresses that cannot be had.

local http = require("tests.support.http")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local HELLO = [[return { on_request = function() return { status = 200, body = "hello\n" } end }
]]

-- Runs a route that must not start; returns what it said.
local function refused(path, args)
  local argv = { "run", path, "--listen", "127.0.0.1:" .. net.free_port(), "--workers", "1" }
  for _, word in ipairs(args or {}) do
    argv[#argv + 1] = word
  end
  local result = server.command(argv, { timeout = 15 })
  assert.equal(1, result.code, result.stderr)
  return result.stderr
end

local function says(message, ...)
  for _, part in ipairs({ ... }) do
    assert.truthy(message:find(part, 1, true), ("%q is not in: %s"):format(part, message))
  end
end

-- The route's text in a folder of its own.
local function route(text)
  return stage.files({ ["route.lua"] = text }) .. "/route.lua"
end

describe("a script that", function()
  it("is not there is named", function()
    says(refused("/nowhere/route.lua"), "/nowhere")
  end)

  it("has a syntax error is told the line", function()
    says(refused(route("return {\n  listen = \n}\n")), "route.lua:3:")
  end)

  it("dies is told the line, and how it came there", function()
    says(refused(route("local function deep()\n  error('boom')\nend\ndeep()\nreturn {}\n")),
      "route.lua:2: boom", "traceback")
  end)

  it("misspells a key is told what it meant", function()
    says(refused(route("return {\n  backend = {},\n  on_request = function() end,\n}\n")),
      "route.lua:2:", "backend", "did you mean 'backends'")
  end)

  it("returns nothing is told so", function()
    says(refused(route("local x = 1\n")), "route.lua")
  end)

  it("requires a module that is not there is told its line", function()
    says(refused(route("\nlocal m = require('no_such_module')\nreturn {}\n")),
      "route.lua:2:", "no_such_module")
  end)

  it("names more than the master listens to is refused, and nobody waits for ever", function()
    says(refused(route([[
      local backends = {}
      for i = 1, 2500 do
        backends["b" .. i] = { servers = "127.0.0.1:" .. i, ini = { [("a"):rep(2000)] = "" } }
      end
      return { backends = backends, on_request = print }
    ]])), "more servers, settings of PHP and files than can be kept track of")
  end)

  it("never comes to an end can be interrupted, and leaves no process", function()
    local path = route("io.stderr:write('begun\\n') io.stderr:flush() while true do end\n")
    local gate = server.start({ route = path, wait = false })
    gate:wait_log("begun")
    local family = process.children(gate.process.pid)
    gate.process:kill("INT")
    assert.truthy(gate.process:wait(5), "it still runs")
    for _, pid in ipairs(family) do
      poll.wait(function()
        return process.gone(pid)
      end, "the end of the process that loads", 3)
    end
  end)
end)

describe("check", function()
  it("says ok", function()
    local result = server.command({ "check", route(HELLO) })
    assert.equal("ok\n", result.stdout)
    assert.equal(0, result.code)
  end)

  it("says what run would say", function()
    local result = server.command({ "check", route("return {\n  listen = true,\n}\n") })
    assert.equal(1, result.code)
    assert.equal("", result.stdout)
    says(result.stderr, "route.lua:2:", "listen")
  end)
end)

describe("an address that", function()
  it("is taken is named, with who has it", function()
    local gate = server.start({ route = HELLO })
    local result = server.command({
      "run", gate.dir .. "/route.lua", "--listen", gate.address, "--workers", "1",
    })
    assert.equal(1, result.code)
    says(result.stderr, gate.address, "in use")
    assert.equal("hello\n", http.get(gate.address, "/").body)
    gate:stop()
  end)

  it("is taken when `make run` wants it is said with how to have another", function()
    local gate = server.start({ route = HELLO })
    local result = process.run({
      argv = { "tools/run-example", "examples/hello" },
      env = { LISTEN = gate.address, HTTPS = "" },
    })
    assert.equal(1, result.code, result.stderr)
    says(result.stderr, "Open http://" .. gate.address .. "/", "make run LISTEN=127.0.0.1:8081",
      "can't listen on " .. gate.address .. ": it is in use by moongate",
      "'listen' or --listen names another address")
    gate:stop()
  end)

  it("is a unix socket serves, and leaves nothing behind", function()
    local dir = process.tempdir("unix")
    local address = "unix:" .. dir .. "/moongate.sock"
    local gate = server.start({ route = HELLO, address = address })
    assert.equal("hello\n", http.get(address, "/").body)
    gate:stop()
    assert.is_nil(net.try_connect(address))
    assert.is_nil(io.open(dir .. "/moongate.sock"))
  end)

  it("is the socket of a server that was killed is taken over", function()
    local dir = process.tempdir("unix")
    local address = "unix:" .. dir .. "/moongate.sock"
    local first = server.start({ route = HELLO, address = address })
    first.process:kill("KILL")
    first.process:wait()
    local second = server.start({ route = HELLO, address = address })
    assert.equal("hello\n", http.get(address, "/").body)
    second:stop()
  end)

  it("is one of 64 is served, one more is refused", function()
    local port, all = net.free_port(), {}
    for i = 1, 64 do
      all[i] = ("127.0.1.%d:%d"):format(i, port)
    end
    local function text(workers)
      return ([[return { workers = %d, watch = false, listen = { "%s" },
        on_request = function() return { status = 200, body = "hello" } end }]]):format(workers,
        table.concat(all, '", "'))
    end
    local control = ("unix:%s/control.sock"):format(process.tempdir("control"))
    local s = server.start({
      own = true, address = all[1], route = text(4), args = { "--control", control },
    })
    finally(function() s:stop() end)
    local function serve_all()
      for _, address in ipairs(all) do
        for _ = 1, 4 do
          assert.equal("hello", http.get(address, "/").body)
        end
      end
    end
    serve_all()
    assert.equal(0, server.command({ "status", "--control", control }).code)
    -- Four sockets of each, for one worker.
    says(s:reload_fails(text(1)), "257 listening sockets, of 246 at most", "restart")
    serve_all()
    s:reload(text(2))
    serve_all()
    all[65] = "127.0.1.65:" .. port
    says(s:reload_fails(text(2)), "route.lua:", "listen: 65 addresses, at most 64")
    says(refused(route(text(2)), { "--control", "off" }), "route.lua:1:", "65 addresses")
  end)

  it("makes no sense is wrong usage", function()
    local result = server.command({ "run", route(HELLO), "--listen", "nonsense" })
    assert.equal(2, result.code)
    says(result.stderr, "nonsense")
  end)
end)

describe("a folder that the workers may not enter", function()
  local dir

  before_each(function()
    dir = stage.files({ ["inner/route.lua"] = HELLO })
    process.chmod(dir .. "/inner", process.is_root() and "700" or "000")
  end)

  after_each(function()
    process.chmod(dir .. "/inner", "755")
  end)

  it("is named, with what to do", function()
    says(refused(dir .. "/inner/route.lua"), dir .. "/inner", "chmod", "--user")
  end)

  it("serves the user who may", function()
    if not process.is_root() then
      process.chmod(dir .. "/inner", "700")
    end
    local gate = server.start({
      route = dir .. "/inner/route.lua",
      args = process.is_root() and { "--user", "root" } or {},
    })
    assert.equal("hello\n", http.get(gate.address, "/").body)
    gate:stop()
  end)
end)

describe("a docroot that is not there", function()
  it("is named in the log of the first request that misses it", function()
    local gate = server.start({
      route = [[
local php = require("moongate.php")
return {
  backends = { app = "unix:/nowhere/php.sock" },
  on_request = php.site { root = "/nowhere/public", backend = "app" },
}
]],
    })
    local status = http.get(gate.address, "/index.php").status
    assert.truthy(status == 404 or status == 500, "status " .. status)
    gate:wait_log("/nowhere/public")
    gate:stop()
  end)
end)

describe("what is valid and will hardly work", function()
  it("is said at start, as by `check`, and after a reload", function()
    local dir = stage.files({ ["spool/x"] = "" })
    process.chmod(dir .. "/spool", "555")
    local text = ([[
local php = require("moongate.php")
return {
  limits = { spool_dir = "%s/spool" },
  backends = { app = "unix:/nowhere/php.sock" },
  on_request = php.site { root = "/nowhere/public", backend = "app" },
}
]]):format(dir)
    local gate = server.start({ route = text })
    gate:wait_log("warning: php.site: /nowhere/public is not a folder on this machine")
    gate:wait_log("warning: limits.spool_dir: the user '[^']+' can't write to the folder "
      .. dir:gsub("%p", "%%%0") .. "/spool")
    assert.equal(2, gate:reload(text .. "\n"))
    gate:wait_log("generation 2: php%.site: /nowhere/public .*; limits%.spool_dir")
    gate:stop()
  end)
end)
