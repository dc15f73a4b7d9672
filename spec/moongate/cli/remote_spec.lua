-- Specs of moongate.cli.remote and of the commands that use it: status, reload, stop, hold, resume,
-- drain, undrain. The instance is a function that answers.

local json = require("moongate.base.json")
local program = require("support.program")

describe("a command to a running instance", function()
  local core, asked, answers, slept
  before_each(function()
    asked, answers, slept = {}, {}, 0
    core = program.core()
    core.now = function()
      return 1000 + slept
    end
    core.pause = function(seconds)
      slept = slept + seconds
    end
    core.ask = function(address, bytes, timeout)
      assert.is_true(timeout > 0 and timeout <= 10)
      asked[#asked + 1] = { address = address, bytes = bytes, line = bytes:match("^[^\r]*") }
      local answer = table.remove(answers, 1) or answers.last
      if type(answer) ~= "table" then
        return nil, type(answer) == "string" and answer or "Connection refused"
      end
      return answer.text
    end
  end)

  --- An answer as the control listener gives it.
  local function answer(value, status)
    local body = json.encode(value)
    return { text = ("HTTP/1.1 %d X\r\nContent-Type: application/json\r\ncontent-length: %d\r\n"
      .. "Connection: close\r\n\r\n%s"):format(status or 200, #body, body) }
  end

  local function backend(...)
    local servers = {}
    for i, active in ipairs({ ... }) do
      servers[i] = { address = ("10.0.0.%d:9000"):format(i), active = active }
    end
    return answer({ name = "app", servers = servers })
  end

  it("asks where the instance is by default", function()
    local getenv = os.getenv
    finally(function()
      os.getenv = getenv -- luacheck: ignore 122
    end)
    for _, case in ipairs({
      { 0, "/run/user/0", "unix:/run/moongate/moongate.sock" },
      { 1000, "/run/user/1000", "unix:/run/user/1000/moongate/moongate.sock" },
      { 1000, nil, "unix:/tmp/moongate-1000/moongate.sock" },
      { 1000, "relative", "unix:/tmp/moongate-1000/moongate.sock" },
      { 1000, "/" .. ("x"):rep(100), "unix:/tmp/moongate-1000/moongate.sock" },
    }) do
      core.uid = function()
        return case[1]
      end
      os.getenv = function(name) -- luacheck: ignore 122
        return name == "XDG_RUNTIME_DIR" and case[2] or nil
      end
      asked = {}
      answers = { answer({ ok = true }) }
      assert.equal(0, (program.run(core, "resume", "app")))
      assert.equal(case[3], asked[1].address)
      program.run(core, "run", "r.lua")
      assert.equal(case[3], core.ran.control_default)
    end
  end)

  it("sends whole requests", function()
    answers = { answer({ ok = true }) }
    local status, stdout, stderr = program.run(core, "resume", "my app", "--control", ":9901")
    assert.equal("", stderr)
    assert.equal(0, status)
    assert.equal("backend 'my app' serves again\n", stdout)
    assert.equal("127.0.0.1:9901", asked[1].address)
    assert.equal("POST /resume?backend=my%20app HTTP/1.1\r\nHost: localhost\r\n"
      .. "Connection: close\r\nMoongate-Control: 1\r\nContent-Length: 0\r\n\r\n", asked[1].bytes)
  end)

  it("undrains", function()
    answers = { answer({ ok = true }) }
    local status, stdout = program.run(core, "undrain", "app", "unix:/run/a.sock")
    assert.equal(0, status)
    assert.equal("server unix:/run/a.sock of backend 'app' serves again\n", stdout)
    assert.equal("POST /undrain?backend=app&server=unix%3A%2Frun%2Fa.sock HTTP/1.1", asked[1].line)
  end)

  it("hold waits until no request is in flight", function()
    answers = { answer({ ok = true }), backend(2, 1), backend(0, 1), backend(0, 0) }
    local status, stdout, stderr = program.run(core, "hold", "app", "--control", "unix:/x")
    assert.equal("", stderr)
    assert.equal(0, status)
    assert.equal("backend 'app' is held: no request is in flight\n", stdout)
    assert.equal(4, #asked)
    assert.equal("POST /hold?backend=app HTTP/1.1", asked[1].line)
    assert.equal("GET /backends?name=app HTTP/1.1", asked[4].line)
    assert.is_true(math.abs(slept - 0.1) < 1e-9)
  end)

  it("hold says how many are left when the time is over, and that it stands", function()
    answers = { answer({ ok = true }), last = backend(2, 1) }
    local status, stdout, stderr = program.run(core, "hold", "app", "--wait", "500ms")
    assert.equal(1, status)
    assert.equal("", stdout)
    assert.equal("moongate: backend 'app' is held and stays so, but 3 requests are still in flight "
      .. "after 0.5 s; `moongate resume app` ends it\n", stderr)
    assert.is_true(slept <= 0.55)
  end)

  it("hold waits for half a minute, however the clock is set", function()
    core.now = function()
      return 1000 - slept
    end
    answers = { answer({ ok = true }), last = backend(1) }
    local status, _, stderr = program.run(core, "hold", "app")
    assert.equal(1, status)
    assert.matches("1 request is still in flight after 30 s", stderr)
    assert.is_true(slept < 31)
    slept, answers = 0, { answer({ ok = true }), last = backend(1) }
    assert.equal(1, (program.run(core, "hold", "app", "--wait", "0")))
    assert.is_true(slept < 0.1)
  end)

  it("hold says that it stands when the instance is lost", function()
    answers = { answer({ ok = true }) }
    local status, _, stderr = program.run(core, "hold", "app", "--control", "unix:/x")
    assert.equal(1, status)
    assert.matches("^moongate: backend 'app' is held and stays so, but how many requests are in "
      .. "flight can't be said: no instance answers at unix:/x: ", stderr)
  end)

  it("drain waits for that server alone", function()
    answers = { answer({ ok = true }), backend(1, 5), backend(0, 5) }
    local status, stdout = program.run(core, "drain", "app", "10.0.0.1:9000")
    assert.equal(0, status)
    assert.equal("server 10.0.0.1:9000 of backend 'app' is drained: no request is in flight\n",
      stdout)
    assert.equal("POST /drain?backend=app&server=10.0.0.1%3A9000 HTTP/1.1", asked[1].line)
    assert.equal(3, #asked)
    answers = { answer({ ok = true }), last = backend(1, 0) }
    local _, _, stderr = program.run(core, "drain", "app", "10.0.0.1:9000", "--wait=0.1")
    assert.equal("moongate: server 10.0.0.1:9000 of backend 'app' is draining and stays so, but 1 "
      .. "request is still in flight after 0.1 s; `moongate undrain app 10.0.0.1:9000` ends it\n",
      stderr)
  end)

  it("says what the instance says", function()
    answers = { answer({ error = "there is no backend 'ap'; did you mean 'app'?" }, 404) }
    local status, stdout, stderr = program.run(core, "hold", "ap")
    assert.equal(1, status)
    assert.equal("", stdout)
    assert.equal("moongate: there is no backend 'ap'; did you mean 'app'?\n", stderr)
    assert.equal(1, #asked)
  end)

  it("says where nothing listens, and how to name another place", function()
    local status, _, stderr = program.run(core, "status", "--control", "unix:/run/x.sock")
    assert.equal(1, status)
    assert.equal("moongate: no instance answers at unix:/run/x.sock: Connection refused; "
      .. "`--control ADDR`, MOONGATE_CONTROL or the route (`moongate status ROUTE.lua`) says where "
      .. "another one is\n", stderr)
  end)

  it("finds the instance by a route, the environment or an option, in each command", function()
    local getenv = os.getenv
    finally(function()
      os.getenv = getenv -- luacheck: ignore 122
    end)
    os.getenv = function(name) -- luacheck: ignore 122
      return name == "MOONGATE_CONTROL" and "unix:/run/env.sock" or nil
    end
    core.control_of = function(path)
      local address = ({ ["/home/ann/shop.lua"] = "unix:/run/shop.sock", ["/etc/off.lua"] = "off",
        ["/etc/silent.lua"] = "" })[path]
      return address, address and "" or "/etc/bad.lua:1: wrong"
    end
    for _, words in ipairs({
      { "status" }, { "reload" }, { "stop" }, { "hold", "app" }, { "resume", "app" },
      { "drain", "app", "10.0.0.1:9000" }, { "undrain", "app", "10.0.0.1:9000" },
    }) do
      local function at(...)
        local args = { unpack(words) }
        for _, word in ipairs({ ... }) do
          args[#args + 1] = word
        end
        asked, answers = {}, {}
        local status, _, stderr = program.run(core, unpack(args))
        return asked[1] and asked[1].address, status, stderr
      end
      assert.equal("unix:/run/env.sock", (at()))
      assert.equal("unix:/run/shop.sock", (at("shop.lua")))
      assert.equal("unix:/run/env.sock", (at("/etc/silent.lua")))
      assert.equal("unix:/run/x.sock", (at("shop.lua", "--control", "unix:/run/x.sock")))
      local address, status, stderr = at("/etc/off.lua")
      assert.same({ nil, 1, "moongate: /etc/off.lua: an instance of this route has no control "
        .. "listener ('control' is false)\n" }, { address, status, stderr })
      address, status, stderr = at("/etc/bad.lua")
      assert.same({ nil, 1, "moongate: /etc/bad.lua:1: wrong\nmoongate: `--control ADDR` finds its "
        .. "instance without the script\n" }, { address, status, stderr })
    end
    program.run(core, "run", "r.lua")
    assert.equal("unix:/run/env.sock", core.ran.control_default)
    os.getenv = function(name) -- luacheck: ignore 122
      return name == "MOONGATE_CONTROL" and "nonsense" or nil
    end
    for _, words in ipairs({ { "status" }, { "run", "r.lua" } }) do
      local status, _, stderr = program.run(core, unpack(words))
      assert.equal(2, status)
      assert.matches("MOONGATE_CONTROL: 'nonsense': expected an address", stderr, 1, true)
    end
  end)

  it("brings a token: of --token-file, else MOONGATE_TOKEN, else the route", function()
    local getenv, path = os.getenv, os.tmpname()
    finally(function()
      os.getenv = getenv -- luacheck: ignore 122
      os.remove(path)
    end)
    local file = assert(io.open(path, "w"))
    file:write("token-of-the-file\n")
    file:close()
    local environment
    os.getenv = function(name) -- luacheck: ignore 122
      return name == "MOONGATE_TOKEN" and environment or nil
    end
    core.control_of = function()
      return "0.0.0.0:9500", "token-of-the-route"
    end
    local function brought(...)
      asked, answers = {}, { answer({ ok = true }) }
      assert.equal(0, (program.run(core, "resume", "app", ...)))
      return asked[1].bytes:match("\r\nAuthorization: Bearer ([^\r]*)\r\n"), asked[1].address
    end
    assert.is_nil(brought("--control", "unix:/x"))
    assert.same({ "token-of-the-route", "127.0.0.1:9500" }, { brought("/etc/r.lua") })
    environment = "token-of-environment"
    assert.equal("token-of-environment", (brought("/etc/r.lua")))
    assert.equal("token-of-environment", (brought("--control", "unix:/x")))
    assert.equal("token-of-the-file", (brought("/etc/r.lua", "--token-file", path)))
    environment = "short"
    local status, _, stderr = program.run(core, "resume", "app")
    assert.equal(2, status)
    assert.matches("MOONGATE_TOKEN: expected 16 to 256 visible characters", stderr, 1, true)
    status, _, stderr = program.run(core, "status", "--token-file", "/nonexistent/t")
    assert.equal(2, status)
    assert.matches("--token-file: /nonexistent/t: No such file", stderr, 1, true)
    environment = nil
    answers = { answer({ error = "this needs the token" }, 401) }
    status, _, stderr = program.run(core, "status")
    assert.equal(1, status)
    assert.equal("moongate: this needs the token; --token-file, MOONGATE_TOKEN or the route "
      .. "(`moongate status ROUTE.lua`) says which\n", stderr)
  end)

  it("trusts no other answer", function()
    local whole = answer({ ok = true }).text
    for _, text in ipairs({
      "", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\n\r\n{}",
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", whole:sub(1, -2), whole .. "x",
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\"\"",
    }) do
      answers = { { text = text } }
      local status, _, stderr = program.run(core, "resume", "app", "--control", "unix:/x")
      assert.equal(1, status)
      assert.equal("moongate: unix:/x: what answers there is no control listener of moongate\n",
        stderr)
    end
  end)

  for _, case in ipairs({
    { { "hold", "app", "--wait", "soon" }, "moongate hold: --wait: 'soon': expected a duration" },
    { { "hold", "app", "--wait", "-1" }, "moongate hold: --wait: '-1': expected a duration" },
    { { "hold", "app", "--control", "x" }, "moongate hold: --control: 'x': expected an address" },
    { { "status", "--control", "x" }, "moongate status: --control: 'x': expected an address" },
    { { "reload", "--wait", "soon" }, "moongate reload: --wait: 'soon': expected a duration" },
    { { "stop", "--control", "x" }, "moongate stop: --control: 'x': expected an address" },
    { { "reload", "app" }, "moongate reload: 'app' is one argument too many" },
    { { "drain", "app" }, "moongate drain: an argument is missing\nusage: moongate drain BACKEND" },
    { { "hold" }, "moongate hold: an argument is missing" },
    { { "resume", "app", "--wait", "1" }, "moongate resume: unknown option '--wait'" },
  }) do
    it("rejects: " .. table.concat(case[1], " "), function()
      local status, stdout, stderr = program.run(core, unpack(case[1]))
      assert.equal(2, status)
      assert.equal("", stdout)
      assert.equal(case[2], stderr:sub(1, #case[2]))
      assert.same({}, asked)
    end)
  end

  describe("reload", function()
    local function outcome(done, fields)
      local value = { requested = 7, done = done, ok = true, generation = 3, at = 5 }
      for key, field in pairs(fields or {}) do
        value[key] = field
      end
      return answer(value)
    end

    it("waits until its own is done", function()
      -- The one before has failed; then a worker that goes away does not answer.
      answers = {
        answer({ id = 7 }), outcome(6, { ok = false, error = "x" }), "Connection reset by peer",
        outcome(7),
      }
      local status, stdout, stderr = program.run(core, "reload", "--control", "unix:/x")
      assert.equal("", stderr)
      assert.equal(0, status)
      assert.equal("generation 3 serves\n", stdout)
      assert.equal("POST /reload HTTP/1.1", asked[1].line)
      assert.matches("\r\nMoongate%-Control: 1\r\n", asked[1].bytes)
      assert.equal("GET /reload HTTP/1.1", asked[4].line)
      assert.equal(4, #asked)
    end)

    it("is content with a later one", function()
      answers = { answer({ id = 7 }), outcome(9) }
      assert.equal(0, (program.run(core, "reload")))
    end)

    it("says what is wrong with the script, word for word", function()
      local text = "/srv/route.lua:3: unknown key 'backend'; did you mean 'backends'?"
      answers = { answer({ id = 7 }), outcome(7, { ok = false, error = text }) }
      local status, stdout, stderr = program.run(core, "reload")
      assert.equal(1, status)
      assert.equal("", stdout)
      assert.equal(text .. "\n", stderr)
    end)

    it("warns of what takes a restart", function()
      answers = { answer({ id = 7 }), outcome(7, { error = "user: it takes a restart" }) }
      local status, stdout, stderr = program.run(core, "reload")
      assert.equal(0, status)
      assert.equal("generation 3 serves\n", stdout)
      assert.equal("warning: user: it takes a restart\n", stderr)
    end)

    it("waits no longer than it was told to", function()
      answers = { answer({ id = 7 }), last = outcome(6) }
      local status, stdout, stderr = program.run(core, "reload", "--wait", "2s")
      assert.equal(1, status)
      assert.equal("", stdout)
      assert.equal("moongate: the reload is not done after 2 s; `moongate generations` shows how "
        .. "it ends\n", stderr)
      assert.is_true(slept >= 2 and slept < 2.2)
    end)

    it("needs an instance", function()
      local status, _, stderr = program.run(core, "reload", "--control", "unix:/x")
      assert.equal(1, status)
      assert.matches("^moongate: no instance answers at unix:/x: Connection refused", stderr)
      assert.equal(1, #asked)
    end)
  end)

  describe("stop", function()
    it("waits until nobody listens", function()
      local serving = answer({ version = "1", backends = {} })
      answers = {
        answer({ ok = true }), serving, "no answer within the time", "Connection reset by peer",
        "Connection refused",
      }
      local status, stdout, stderr = program.run(core, "stop")
      assert.equal("", stderr)
      assert.equal(0, status)
      assert.equal("stopped\n", stdout)
      assert.equal("POST /stop HTTP/1.1", asked[1].line)
      assert.equal(5, #asked)
      answers = { answer({ ok = true }), "No such file or directory" }
      assert.equal(0, (program.run(core, "stop")))
    end)

    it("waits no longer than it was told to", function()
      answers = { answer({ ok = true }), last = answer({ version = "1" }) }
      local status, stdout, stderr = program.run(core, "stop", "--wait=1")
      assert.equal(1, status)
      assert.equal("", stdout)
      assert.equal("moongate: the instance is told to stop, and has not ended after 1 s\n", stderr)
    end)
  end)

  describe("status", function()
    local state
    before_each(function()
      state = {
        version = "0.1.0", uptime = 11530.5, generation = 4,
        workers = {
          { pid = 4711, ready = true, generations = 1, connections = 12, active = 2,
            requests = 1234, lua_memory = 700 * 1024, restarts = 0 },
          { pid = 4712, ready = true, generations = 2, connections = 3, requests = 99,
            lua_memory = 2.5 * 2 ^ 20, restarts = 1 },
          { pid = 4713, ready = false, generations = 0, connections = 0, requests = 0,
            lua_memory = 0, restarts = 7 },
        },
        listeners = {
          { address = "127.0.0.1:8080", name = "", control = false },
          { address = "127.0.0.1:8081", name = "six", control = false },
          { address = "unix:/x", name = "control", control = true },
        },
        tenants = {
          { name = "\27[2Jshop", active = 4, queued = 9, requests = 70, client_errors = 2,
            server_errors = 1 },
        },
        backends = {
          {
            name = "app", held = true, queued = 3, max_queue = 2048,
            totals = { serving = 5, active = 2, idle = 1, requests = 1234567, fails = 4, up = 1 },
            servers = {
              { address = "10.0.0.1:9000", serving = 5, active = 2, idle = 1, requests = 1234560,
                fails = 0, latency = 0.0123, up = true, backup = false, draining = false,
                max_conns = 8 },
              { address = "10.0.0.2:9000", serving = 0, active = 0, idle = 0, requests = 7,
                fails = 4, latency = 0, up = false, backup = true, draining = false,
                max_conns = 0 },
              { address = "10.0.0.3:9000", serving = 0, active = 0, idle = 0, requests = 0,
                fails = 0, latency = 0, up = true, backup = false, draining = true,
                max_conns = 0, named = 2 },
              { address = "10.0.0.4:9000", serving = 0, active = 0, idle = 0, requests = 0,
                fails = 0, latency = 0, up = false, backup = false, draining = false,
                max_conns = 0, named = 0, state = "unhealthy" },
            },
          },
        },
      }
    end)

    it("is a table", function()
      answers = { answer(state) }
      local status, stdout, stderr = program.run(core, "status", "--control", "unix:/x")
      assert.equal("", stderr)
      assert.equal(0, status)
      assert.equal("GET /status HTTP/1.1", asked[1].line)
      assert.equal(table.concat({
        "moongate 0.1.0 at unix:/x",
        "up 3h 12m, generation 4, 3 workers",
        "listening on 127.0.0.1:8080, 127.0.0.1:8081 (six), unix:/x (control)",
        "WORKER  STATE          CONNECTIONS  ACTIVE  REQUESTS  LUA MEMORY  RESTARTS",
        "  4711                          12       2      1234        700k         0",
        "  4712  2 generations            3       0        99        2.5M         1",
        "  4713  starting                 0       0         0          0k         7",
        "BACKEND          STATE         SERVING  ACTIVE  IDLE  MAX  QUEUED  REQUESTS  FAILS"
          .. "  LATENCY",
        "app              held                5       2     1       3/2048   1234567      4",
        "  10.0.0.1:9000  up                  5       2     1    8           1234560      0"
          .. "  12.3 ms",
        "  10.0.0.2:9000  down, backup        0       0     0                      7      4",
        "  10.0.0.3:9000  draining            0       0     0            2         0      0",
        "  10.0.0.4:9000  unhealthy           0       0     0                      0      0",
        "TENANT         ACTIVE  QUEUED  REQUESTS  4XX  5XX",
        "\\x1b[2Jshop         4       9        70    2    1",
        "",
      }, "\n"), stdout)
    end)

    it("is JSON", function()
      answers = { answer(state) }
      local status, stdout = program.run(core, "status", "--json")
      assert.equal(0, status)
      assert.same(state, json.decode(stdout))
    end)

    it("is short without backends", function()
      for seconds, words in pairs({
        [5] = "5s", [61] = "1m 1s", [90000] = "1d 1h", [86399] = "23h 59m", [0.5] = "0s",
      }) do
        answers = { answer({
          version = "0.1.0", uptime = seconds, generation = 1, workers = { state.workers[1] },
          listeners = json.list({}), backends = json.list({}),
        }) }
        local _, stdout = program.run(core, "status", "--control", "unix:/x")
        assert.equal("moongate 0.1.0 at unix:/x\nup " .. words .. ", generation 1, 1 worker\n",
          stdout:match("^[^\n]*\n[^\n]*\n"))
        assert.is_nil(stdout:find("BACKEND", 1, true))
      end
    end)

    it("names the last error", function()
      state.last_error = { text = "/srv/route.lua:3: boom", at = os.time() }
      answers = { answer(state) }
      local _, stdout = program.run(core, "status")
      assert.matches("\nlast error %(%d+%-%d%d%-%d%d %d%d:%d%d:%d%d%): /srv/route.lua:3: boom\n",
        stdout)
    end)
  end)
end)
