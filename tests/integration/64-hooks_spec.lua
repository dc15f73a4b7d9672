-- Every hook: what it gets, what its result does, and which of them may wait. What waits can be
-- left by its client, replaced by a reload, parked by the thousand, and must leave nothing behind.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local load = require("tests.support.load")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

local ASAN = server.binary():find("asan", 1, true) ~= nil -- memory says nothing there

-- What a function of the routes below begins with.
local HEAD = [[local moongate = require("moongate")]]

--- Anonymous memory of the only worker, in bytes.
local function anonymous(r)
  local status = assert(process.read_file(("/proc/%d/status"):format(r.server:workers()[1])))
  return tonumber(status:match("RssAnon:%s+(%d+)")) * 1024
end

--- What `moongate status` knows of the only worker.
local function worker_of(r)
  return json.decode(r:tell("status", "--json")).workers[1]
end

--- The target of a path of the route's own.
local function get(r, path)
  return http.get(r.address, path)
end

describe("each hook", function()
  local r

  setup(function()
    r = rig.start({
      control = true,
      responder = { count = 2 },
      backend = 'balance = "round_robin", max_fails = 0',
      before = HEAD .. [[

        local function trail(req, text, ...)
          req.ctx.trail = (req.ctx.trail or "") .. text:format(...) .. " "
        end
        -- The arguments of the hooks, by their types; more than there should be would show.
        local function types(...)
          local list = {}
          for i = 1, select("#", ...) do
            list[i] = type((select(i, ...)))
          end
          return table.concat(list, ",")
        end
      ]],
      on_request = [[
        trail(req, "request:%d:%s", req.attempt, tostring(req.internal))
        if req.path == "/nil" then return nil end
        if req.path == "/false" then return false end
        if req.path == "/raise" then error("raised") end
        if req.path == "/close" then return { close = true } end
        if req.path == "/reply" then
          return { status = 201, headers = { ["X-A"] = { "1", "2" } }, body = "made\n" }
        end
        if req.path == "/intercept" then
          return { backend = "app", docroot = "/srv/app", intercept_errors = { 418 } }
        end
      ]],
      settings = [[
        on_start = function(...) moongate.log("info", "on_start(%s)", types(...)) end,
        on_params = function(...)
          local req, params = ...
          trail(req, "params(%s):%s", types(...), params.REQUEST_METHOD)
          params.ADDED, params.SERVER_SOFTWARE = "yes", nil
          if req.args.Params == "raise" then error("params raised") end
        end,
        on_balance = function(...)
          local req, servers, attempt = ...
          trail(req, "balance(%s):%d:%d", types(...), #servers, attempt)
          local want = tonumber(req.args.Server)
          if req.args.Server == "odd" then return "no server" end
          return want and servers[want], want and "chosen=" .. want
        end,
        on_response = function(...)
          local req, res = ...
          trail(req, "response(%s):%d", types(...), res.status)
          res.headers["X-Seen"] = "yes"
          if req.args.Response == "raise" then error("response raised") end
          if req.args.Response == "replace" then return { status = 202, body = "instead" } end
          if req.args.Response == "odd" then return 7 end
        end,
        on_error = function(...)
          local req, err = ...
          trail(req, "error(%s):%s:%d:%d", types(...), err.kind, err.status, err.attempts)
          if req.args.Error == "raise" then error("error raised") end
          if req.args.Error == "reply" then
            return { status = 203, body = err.kind .. " " .. err.message }
          end
        end,
        on_stderr = function(...)
          local req, messages = ...
          trail(req, "stderr(%s):%d:%s:%s", types(...), #messages, messages[1].level,
            messages[1].text)
          if req.args.Stderr == "raise" then error("stderr raised") end
          return req.args.Stderr == "swallow"
        end,
        on_log = function(...)
          local req, log = ...
          trail(req, "log(%s):%d:%d", types(...), log.status, #log.attempts)
          if req.args.Log == "raise" then error("log raised") end
          if req.args.Log == "false" then return false end
          return req.path .. " " .. req.ctx.trail
        end,
        on_stop = function(...) moongate.log("info", "on_stop(%s)", types(...)) end
      ]],
    })
  end)

  teardown(function()
    r:stop()
    assert.truthy(r.server:errors():find("on_stop()", 1, true))
  end)

  local tag = 0

  --- One request, and what its hooks wrote down.
  local function try(commands, path)
    tag = tag + 1
    path = path or ("/x%d.php"):format(tag)
    local res = http.get(r.address, path .. "?" .. commands)
    local line = r.server:wait_access("^" .. path:gsub("%p", "%%%0") .. " ")
    return res, line:match("^%S+ (.-) *$")
  end

  it("is called in order, with its arguments", function()
    assert.truthy(r.server:errors():find("on_start()", 1, true))
    local res, trail = try("body=hello&stderr=oops&Server=1&dump")
    assert.equal(200, res.status)
    assert.equal("yes", res.headers["x-seen"])
    assert.equal("chosen=1", res.headers["set-cookie"])
    local params = rig.params(res)
    assert.equal("yes", params.ADDED)
    assert.is_nil(params.SERVER_SOFTWARE)
    assert.equal("request:0:false params(userdata,userdata):GET "
      .. "balance(userdata,table,number):2:1 stderr(userdata,table):1:error:oops "
      .. "response(userdata,userdata):200 log(userdata,userdata):200:1", trail)
  end)

  it("is asked again for each attempt", function()
    local res, trail = try("1.fail=close-before-head&Server=1&who")
    assert.equal("2", res.headers["x-listener"])
    -- For the second attempt one server is left, and there is nothing to choose: the answer of the
    -- hook to a list of one is that one.
    assert.truthy(trail:find("balance(userdata,table,number):2:1", 1, true), trail)
    assert.truthy(trail:find("log(userdata,userdata):200:2", 1, true), trail)
  end)

  for path, expected in pairs({
    ["/nil"] = { 404, "request:0:false log(userdata,userdata):404:0" },
    ["/reply"] = { 201, "request:0:false log(userdata,userdata):201:0" },
    ["/raise"] = { 500, "request:0:false error(userdata,table):script:500:0 "
      .. "log(userdata,userdata):500:0" },
    ["/false"] = { 500, "request:0:false error(userdata,table):script:500:0 "
      .. "log(userdata,userdata):500:0" },
  }) do
    it("on_request: " .. path, function()
      local res, trail = try("", path)
      assert.equal(expected[1], res.status)
      assert.equal(expected[2], trail)
      if path == "/reply" then
        assert.same({ "1", "2" }, res:all("X-A"))
        assert.equal("made\n", res.body)
      end
    end)
  end

  it("on_request may drop the connection", function()
    local client = http.open(r.address)
    client:send({ path = "/close" })
    assert.equal("", client.conn:read_all())
    client:close()
  end)

  it("on_error is told of a status, may answer, and may leave it", function()
    local res, trail = try("status=418&body=teapot&Error=reply", "/intercept")
    assert.equal(203, res.status)
    assert.equal("status the application's status", res.body)
    assert.truthy(trail:find("error(userdata,table):status:418:1", 1, true), trail)
  end)

  local mark

  before_each(function() mark = r.server:mark() end)

  -- An error costs the client what the page says that it costs, and is in the log with its line.
  for hook, case in pairs({
    on_params = { "Params=raise", 500, "params raised" },
    on_balance = { "Server=odd", 500, "one of the servers" },
    on_response = { "Response=raise&body=kept", 200, "response raised", "kept" },
    on_stderr = { "Stderr=raise&stderr=oops&body=kept", 200, "stderr raised", "kept" },
    on_error = { "fail=close-before-head&Error=raise", 500, "error raised" },
  }) do
    it("logs the error of " .. hook .. " with its line", function()
      local res = try(case[1])
      assert.equal(case[2], res.status)
      assert.equal(case[4] or res.body, res.body)
      r.server:wait_log(case[3], nil, mark)
      local text = r.server:errors():sub(mark + 1)
      assert.truthy(text:match("route%.lua:%d+[^\n]*" .. case[3])
        or text:match(case[3] .. "[^\n]*route%.lua:%d+")
        or text:match("route%.lua:%d+[^\n]*\n?[^\n]*" .. case[3]), text)
      if hook == "on_stderr" then
        r.server:wait_log("oops", nil, mark) -- the message is not lost
      end
    end)
  end

  it("on_stderr may swallow the messages", function()
    try("Stderr=swallow&stderr=unheard")
    try("stderr=heard")
    r.server:wait_log("heard", nil, mark)
    assert.falsy(r.server:errors():find("unheard", 1, true))
  end)

  it("on_response may replace the answer, and an odd result is an error", function()
    local res = try("Response=replace&body=application")
    assert.equal(202, res.status)
    assert.equal("instead", res.body)
    res = try("Response=odd&body=application")
    assert.equal(200, res.status) -- an error in it costs the client nothing
    assert.equal("application", res.body)
    r.server:wait_log("on_response returned a decision that can't be used: expected a decision",
      nil, mark)
  end)

  it("on_log may leave the line out, and an error in it means the usual one", function()
    http.get(r.address, "/unlogged.php?Log=false")
    http.get(r.address, "/usual.php?Log=raise")
    r.server:wait_access('"GET /usual.php%?Log=raise HTTP/1.1" 200')
    r.server:wait_log("log raised", nil, mark)
    assert.falsy(r.server:access():find("unlogged", 1, true))
  end)
end)

describe("what a hook is given", function()
  it("can't be used when it has returned, nor shows the next request", function()
    local r = rig.start({
      before = HEAD .. "\nlocal kept, said = {}, {}" .. [[

        local function try(name, fn)
          local ok, err = pcall(fn)
          said[#said + 1] = name .. ": " .. (ok and "no error" or err)
        end
        local function try_all()
          try("params", function() return kept.params.A end)
          try("params", function() kept.params.A = "1" end)
          try("params", function() return (kept.params:each()) end)
          try("params", function() return (kept.next_param(kept.params)) end)
          try("response", function() return kept.res.status end)
          try("response", function() kept.res.status = 200 end)
          try("response", function() return kept.headers["Content-Type"] end)
          try("response", function() kept.headers.X = "1" end)
          try("response", function() return (kept.next_header(kept.headers)) end)
          try("log", function() return kept.log.status end)
          try("log", function() return (kept.log:all()) end)
        end
      ]],
      on_request = [[
        if req.path == "/said" then
          try_all()
          return { status = 200, body = table.concat(said, "\n") }
        end
      ]],
      settings = [[
        on_params = function(req, params)
          if kept.params then
            try("loop", function() return (kept.next_param(kept.params)) end)
          else
            kept.params, kept.next_param = params, params:each()
          end
        end,
        on_response = function(req, res)
          if kept.res then
            try("loop", function() return (kept.next_header(kept.headers)) end)
          else
            kept.res, kept.headers, kept.next_header = res, res.headers, res.headers:each()
          end
        end,
        on_log = function(req, log)
          if not kept.all then
            kept.log, kept.all = log, log:all()
          end
          return ("%d %s %d %s"):format(log.status, kept.all.uri, kept.all.status,
            kept.all.attempts[1].server)
        end
      ]],
    })
    finally(function() r:stop() end)
    assert.equal(200, r:get("body=a").status)
    assert.equal(200, r:get("body=b").status)
    local expected = {
      params = "these params are gone: they may only be used inside on_params",
      response = "this response is gone: res",
      log = "this log is gone: it may only be used inside on_log or log.format",
      loop = "this loop is over: its request has ended",
    }
    local count = 0
    for what, text in get(r, "/said").body:gmatch("(%a+): ([^\n]*)") do
      assert.matches("route%.lua:%d+: " .. expected[what]:gsub("%p", "%%%0"), text)
      count = count + 1
    end
    assert.equal(13, count)
    r.server:wait_access("^200 /x%.php%?body=a 200 .")
  end)
end)

describe("an internal redirect", function()
  it("leaves the globals of the script alone, however strict they are", function()
    local r = rig.start({
      before = HEAD .. [[

        args = "mine"
        setmetatable(_G, { __newindex = function() error("no") end })
      ]],
      settings = "on_params = function() end",
      on_request = "do return { backend = 'app', params = { SEEN = args } } end",
    })
    finally(function() r:stop() end)
    for _ = 1, 3 do
      local p = rig.params(r:get("header=Location:%20/y.php%3fdump"))
      assert.equal("/y.php", p.SCRIPT_NAME)
      assert.equal("mine", p.SEEN)
    end
  end)
end)

describe("a policy that forgets its request", function()
  it("does not lose it to the garbage collector", function()
    local r = rig.start({
      responder = { count = 2 },
      before = HEAD .. "\nlocal alive = setmetatable({}, { __mode = 'k' })",
      backend = [[balance = function(req, servers)
        alive[req] = true
        req = nil
        collectgarbage()
        collectgarbage()
        local held = 0
        for _ in pairs(alive) do held = held + 1 end
        return held == 1 and servers[1] or error("held: " .. held)
      end]],
    })
    finally(function() r:stop() end)
    for _ = 1, 5 do
      assert.equal(200, r:get("").status)
    end
  end)
end)

describe("what the garbage collector calls at a generation's end", function()
  it("finds no server any more, and does no harm", function()
    local r = rig.start({
      control = true,
      before = HEAD .. [[

        local last = newproxy(true)
        getmetatable(last).__gc = function()
          for _, call in ipairs({ "spawn", "every", "fastcgi", "sleep" }) do
            pcall(moongate[call], call == "every" and 0.001 or print, print)
          end
          pcall(moongate.fastcgi, "app", { SCRIPT_NAME = "/x" })
          pcall(function() moongate.tcp():connect("127.0.0.1", 1) end)
        end
      ]],
      on_request = "do return { status = 200, body = tostring(last) } end",
    })
    finally(function() r:stop() end) -- with the workers that it began with
    for _ = 1, 5 do
      assert.equal(0, r:command("reload").code)
      assert.matches("^userdata", r:get("").body)
    end
    poll.wait(function() return worker_of(r).generations == 1 end, "one generation to be left")
  end)
end)

describe("a line of on_log", function()
  it("is one line, whatever a client has sent", function()
    local r = rig.start({
      on_request = 'do return { status = 200, body = "x" } end',
      settings = [[on_log = function(req)
        return req.path == "/long" and ("y"):rep(100000) or "said " .. req.path
      end]],
    })
    finally(function() r:stop() end)
    get(r, "/a%0a%0d%1b%7f%09b")
    assert.equal("said /a\\x0A\\x0D\\x1B\\x7F\tb", r.server:wait_access("^said /a"))
    get(r, "/long")
    assert.equal(("y"):rep(8192), r.server:wait_access("^y"))
  end)
end)

describe("a hook that waits", function()
  local r

  setup(function()
    r = rig.start({
      control = true,
      backend = "max_fails = 0, attempts = 1",
      before = HEAD .. [[

        local ready, kept, runs, chained, flooded = false, nil, 0, nil, 0
        local function end_one() flooded = flooded + 1 end
        local function spawn_one() moongate.spawn(end_one) end
        local function again() -- spawns itself for ever, without a wait
          if chained then
            chained = chained + 1
            moongate.spawn(again)
          end
        end
        local function spin() -- interpreted: the time limit ends it
          while true do end
        end
        jit.off(spin)
      ]],
      on_request = [[
        if req.path == "/ready" then return { status = 200, body = tostring(ready) } end
        if req.path == "/runs" then return { status = 200, body = tostring(runs) } end
        if req.path == "/sleep" then
          local before = moongate.now()
          moongate.sleep(tonumber(req.args.s))
          req.ctx.slept = moongate.now() - before
          return { status = 200, body = ("%.3f %s %s"):format(req.ctx.slept, req.method,
            req.headers.Host) }
        elseif req.path == "/app" then
          moongate.sleep(0.05)
          return { backend = "app", docroot = "/srv/app" }
        elseif req.path == "/error" then
          moongate.sleep(0.02)
          local nothing
          return nothing.field
        elseif req.path == "/many" then
          for i = 1, 20 do moongate.sleep(0.005) end
          return { status = 200, body = "20 times" }
        elseif req.path == "/own" then
          local ok, err = coroutine.resume(coroutine.create(function() moongate.sleep(0) end))
          return { status = 200, body = tostring(ok) .. " " .. tostring(err) }
        elseif req.path == "/pcall" then
          local ok, err = pcall(function()
            moongate.sleep(0.02)
            error("inside")
          end)
          return { status = 200, body = tostring(ok) .. " " .. tostring(err) }
        elseif req.path == "/tail" then
          return moongate.shared(5)
        elseif req.path == "/object" then
          error(setmetatable({}, { __tostring = function() return "an object's words" end }))
        elseif req.path == "/table" then
          error({ code = 42 })
        elseif req.path == "/worse" then
          error(setmetatable({}, { __tostring = function() error("again") end }))
        elseif req.path == "/yield" then
          coroutine.yield()
        elseif req.path == "/spin" then
          moongate.sleep(3.3)
          spin()
        elseif req.path == "/keep" then
          kept = { req = req, headers = req.headers, each = req.headers:each() }
          return { status = 200 }
        elseif req.path == "/kept" then
          local _, of_req = pcall(function() return kept.req.path end)
          local _, of_headers = pcall(function() return kept.headers.Host end)
          local _, of_each = pcall(function() return (kept.each(kept.headers)) end)
          return { status = 200, body = of_req .. "\n" .. of_headers .. "\n" .. of_each }
        elseif req.path == "/chain" then
          chained = 0
          again()
          return { status = 200 }
        elseif req.path == "/unchain" then
          local links = chained
          chained = nil
          return { status = 200, body = tostring(links) }
        elseif req.path == "/flood" then
          local count, ok, err = 0, nil, nil
          repeat
            ok, err = pcall(spawn_one)
            count = count + 1
          until not ok or count == 200000
          return { status = 200, body = count .. " " .. tostring(err) }
        elseif req.path == "/flooded" then
          return { status = 200, body = tostring(flooded) }
        elseif req.path == "/spawn" then
          moongate.spawn(function(a, b, c)
            moongate.sleep(0.02)
            moongate.log("info", "spawned %s %s %s", tostring(a), tostring(b), tostring(c))
          end, 1, nil, "three")
          moongate.spawn(function() error("spawned without waiting") end)
          moongate.spawn(function() moongate.sleep(0.01) error("spawned after waiting") end)
          moongate.spawn(function(request) moongate.sleep(0.05) return request.path end, req)
          return { status = 200, body = "begun" }
        end
      ]],
      settings = [[
        script_timeout = "3s",
        on_start = function()
          moongate.sleep(0.1)
          ready = true
          moongate.every(0.02, function()
            runs = runs + 1
            if runs == 3 then error("the third run") end
            if runs == 5 then moongate.sleep(0.2) end
          end)
        end,
        on_params = function(req)
          if req.args.Wait == "params" then moongate.sleep(0) end
        end,
        on_response = function(req)
          if req.args.Wait == "response" then moongate.sleep(0) end
        end,
        on_stderr = function(req)
          if req.args.Wait == "stderr" then moongate.sleep(0) end
        end,
        on_log = function(req)
          if req.args.Wait == "log" then moongate.sleep(0) end
        end,
        on_stop = function()
          local _, spawning = pcall(moongate.spawn, function() end)
          local _, timing = pcall(moongate.every, 1, function() end)
          moongate.log("info", "on_stop: %s; %s", spawning, timing)
          moongate.sleep(0)
        end,
        on_error = function(req, err)
          if req.args.Again then
            moongate.sleep(0.05)
            return { status = 200, body = "on_error slept: " .. err.kind }
          elseif req.args.Late then
            moongate.sleep(0.02)
            error("on_error after waiting")
          end
        end
      ]],
    })
  end)

  teardown(function()
    r:stop()
    local errors = r.server:errors()
    assert.truthy(errors:find("on_stop.-this hook can't wait"))
    assert.truthy(errors:find("on_stop: spawn: on_stop can't begin anything", 1, true))
    assert.truthy(errors:find("; every: on_stop can't begin anything", 1, true))
  end)

  it("on_start waits, and the worker serves when it has ended", function()
    assert.equal("true", get(r, "/ready").body)
  end)

  it("on_request waits, while others are served", function()
    local slow = http.open(r.address)
    slow:send({ path = "/sleep?s=0.5" })
    local before = os.clock()
    for _ = 1, 20 do
      assert.equal("true", get(r, "/ready").body)
    end
    assert.is_true(os.clock() - before < 0.5)
    local res = slow:receive("GET")
    slow:close()
    assert.equal(200, res.status)
    local seconds, rest = res.body:match("^(%S+) (.*)$")
    assert.is_true(tonumber(seconds) >= 0.49, seconds)
    assert.equal("GET localhost", rest)
  end)

  it("on_request waits often, and sends to a backend afterwards with the body", function()
    assert.equal("20 times", get(r, "/many").body)
    local body = rig.bytes(100000)
    local res = http.post(r.address, "/app?sum", body)
    assert.equal(rig.sum(body), res.body)
  end)

  it("pcall around what waits works", function()
    assert.matches("^false .*route.lua:%d+: inside$", get(r, "/pcall").body)
  end)

  it("whatever was raised says what it was", function()
    for path, said in pairs({
      ["/tail"] = "on_request %([^)]*route%.lua:%d+%): shared: expected",
      ["/object"] = "on_request .*%): an object's words;?",
      ["/table"] = "on_request .*%): an error that is no text but a table",
      ["/worse"] = "on_request .*%): an error whose __tostring has failed",
    }) do
      local mark = r.server:mark()
      assert.equal(500, get(r, path).status)
      r.server:wait_log(said, nil, mark)
    end
  end)

  it("an error after waiting is a 500 with its line in the log", function()
    local mark = r.server:mark()
    assert.equal(500, get(r, "/error").status)
    r.server:wait_log("on_request .*route%.lua:%d+: attempt to index local 'nothing'", nil, mark)
  end)

  it("on_error waits, and may fail after that", function()
    local mark = r.server:mark()
    local res = get(r, "/app?fail=close-before-head&Again=1")
    assert.equal("on_error slept: closed", res.body)
    assert.equal(200, res.status)
    assert.equal(500, get(r, "/app?fail=close-before-head&Late=1").status)
    r.server:wait_log("on_error .*route%.lua:%d+: on_error after waiting", nil, mark)
    res = get(r, "/error?Again=1")
    assert.equal("on_error slept: script", res.body)
  end)

  for hook, case in pairs({
    params = { "", 500 }, response = { "body=kept", 200, "kept" },
    stderr = { "stderr=oops&body=kept", 200, "kept" }, log = { "body=kept", 200, "kept" },
  }) do
    it("is an error in on_" .. hook .. ", which says who may", function()
      local mark = r.server:mark()
      local res = get(r, ("/x.php?Wait=%s&%s"):format(hook, case[1]))
      assert.equal(case[2], res.status)
      assert.equal(case[3] or res.body, res.body)
      r.server:wait_log("on_" .. hook .. " .*route%.lua:%d+.*this hook can't wait: only on_start, "
        .. "on_certificate, on_request, on_error, timers and what moongate%.spawn runs may", nil,
        mark)
    end)
  end

  it("is an error in a coroutine of the script's own, and a bare yield is one", function()
    local body = get(r, "/own").body
    assert.matches("^false .*a coroutine of the script's own can't wait", body)
    local mark = r.server:mark()
    assert.equal(500, get(r, "/yield").status)
    r.server:wait_log("coroutine.yield outside of a coroutine of the script's own", nil, mark)
  end)

  it("runs no longer than script_timeout, which begins anew after each wait", function()
    local mark = r.server:mark()
    local res = get(r, "/spin")
    assert.equal(500, res.status)
    r.server:wait_log("route%.lua:%d+.*script_timeout: it has run for too long", nil, mark)
    assert.equal("true", get(r, "/ready").body) -- the same worker, see Rig:stop
  end)

  it("leaves no way to use a request that has ended", function()
    get(r, "/keep")
    for line in get(r, "/kept").body:gmatch("[^\n]+") do
      assert.matches("route%.lua:%d+: this request has ended: a script may not keep 'req'", line)
    end
  end)

  it("spawned functions run beside the requests, and their errors are in the log", function()
    local mark = r.server:mark()
    assert.equal("begun", get(r, "/spawn").body)
    r.server:wait_log("spawned 1 nil three", nil, mark)
    r.server:wait_log("moongate.spawn .*route%.lua:%d+: spawned without waiting", nil, mark)
    r.server:wait_log("moongate.spawn .*route%.lua:%d+: spawned after waiting", nil, mark)
    r.server:wait_log("moongate.spawn .*route%.lua:%d+: this request has ended", nil, mark)
  end)

  it("spawned functions that spawn others leave the worker time for requests", function()
    get(r, "/chain")
    for _ = 1, 20 do
      assert.equal("true", get(r, "/ready").body)
    end
    assert.is_true(tonumber(get(r, "/unchain").body) > 20)
  end)

  it("so many functions may be spawned, one more is an error, and they end", function()
    for i = 1, 2 do
      assert.matches("^100001 .*route%.lua:%d+: spawn: 100000 functions are waiting already",
        get(r, "/flood").body)
      poll.wait(function() -- each turn of the loop ends some of them
        return get(r, "/flooded").body == tostring(i * 100000)
      end, "the end of all that were spawned")
    end
  end)

  it("every goes on after an error, one run at a time", function()
    poll.wait(function()
      return tonumber(get(r, "/runs").body) >= 8
    end, "eight runs")
    r.server:wait_log("moongate.every .*route%.lua:%d+: the third run")
  end)

  for _, how in ipairs({ "reset", "close" }) do
    it("is ended when its client leaves: " .. how, function()
      local before = r.server:mark()
      local client = http.open(r.address)
      client:send({ path = "/sleep?s=300&" .. how })
      -- The request waits: nothing comes, and the connection stays.
      assert.is_true(client.conn:silent(0.1))
      client.conn[how](client.conn)
      r.server:wait_access("/sleep%?s=300&" .. how .. ' HTTP/1.1" 499')
      assert.equal("", r.server:errors():sub(before + 1))
    end)
  end
end)

describe("parked coroutines", function()
  local r

  -- They come to an end when /go was asked for, whatever the time.
  local ON_REQUEST = [[
    if req.path == "/park" then
      parked = parked + 1
      while not open do moongate.sleep(0.5) end
      parked = parked - 1
      return { status = 200, body = "parked" }
    elseif req.path == "/parked" then
      return { status = 200, body = tostring(parked) }
    elseif req.path == "/go" then
      open = true
      return { status = 200 }
    elseif req.path == "/collect" then
      for _ = 1, 3 do collectgarbage() end
      return { status = 200, body = tostring(collectgarbage("count")) }
    elseif req.path == "/soak" then
      -- A tenth of them each: what sleeps, what was spawned, what fails, what fails after a wait.
      for i = 1, 1000 do
        moongate.spawn(function() moongate.sleep(0.001) end)
        moongate.spawn(function() end)
        moongate.spawn(pcall, function() moongate.sleep(0.001) error("after a wait") end)
        moongate.spawn(function(...)
          for _ = 1, 2 do moongate.sleep(0) end
          return ...
        end, i, req.path)
      end
      for _ = 1, 200 do
        moongate.spawn(function() moongate.sleep(0.001) error() end)
      end
      moongate.sleep(0.02)
      return { status = 200, body = "soaked" }
    elseif req.path == "/long" then
      moongate.sleep(600)
    end
  ]]

  local function start()
    r = rig.start({
      control = true, before = HEAD .. "\nlocal parked, open = 0, false", on_request = ON_REQUEST,
      settings = "log = { access = false }, limits = { keepalive_timeout = 0 }",
    })
  end

  before_each(start)
  after_each(function() r:stop() end)

  it("cost little memory: 10,000 requests at a time", function()
    local count = ASAN and 1000 or 10000
    -- What a worker grows by once, whoever comes: its tables of files, timers and connections.
    load.run(r.address, { { clients = 100, requests = 1000, path = "/parked" } })
    local before = anonymous(r)
    local run = load.start(r.address, {
      timeout = 120, { clients = count, requests = count, path = "/park" },
    })
    poll.wait(function()
      return tonumber(get(r, "/parked").body) == count
    end, "the requests to wait", 60)
    local each = (anonymous(r) - before) / count
    get(r, "/go")
    load.assert_all(run:finish(120).all, 200)
    -- 9.3 KB: a coroutine with its stack, its task and its timer are 1 KB; the rest is what any
    -- request in flight has, its connection and two blocks of 2 to 4 KB among it.
    assert.is_true(ASAN or each < 9800, ("%.0f bytes for each"):format(each))
    assert.is_true(each > 500, ("%.0f bytes for each: nothing was parked"):format(each))
  end)

  it("leave nothing behind, however they end", function()
    local function soak(rounds)
      for _ = 1, rounds do
        assert.equal("soaked", get(r, "/soak").body)
      end
      -- Cancelled by their clients.
      local run = load.start(r.address, {
        timeout = 10, { clients = 50, requests = 1000, path = "/long", leave = 5 },
      })
      assert.is_true(run:finish(60).all.left > 900)
      local lua
      poll.wait(function()
        local last = lua
        lua = tonumber(get(r, "/collect").body)
        return last and math.abs(last - lua) < 1
      end, "Lua's memory to settle", 20)
      return lua * 1024, anonymous(r)
    end
    local rounds = ASAN and 3 or 12
    soak(rounds) -- what such a load needs once, the allocator's gaps among it
    -- What leaks, leaks each time; the allocator's gaps come and go with where the load was cut.
    -- So one of five times must end where it began: 50,400 functions, 1,000 clients that leave.
    local report, kept = {}, nil
    local lua, anon = soak(rounds)
    for _ = 1, 5 do
      local lua_before, anon_before = lua, anon
      lua, anon = soak(rounds)
      report[#report + 1] = ("Lua %d -> %d, RssAnon %d -> %d"):format(lua_before, lua,
        anon_before, anon)
      -- A leaked table of 64 bytes for one function in a hundred would be 32 KB; 512 KB are 10
      -- bytes for each function, or half a KB for each client that left.
      kept = lua - lua_before >= 16384 or not ASAN and anon - anon_before >= 2 ^ 19
      if not kept then break end
    end
    assert.is_false(kept, table.concat(report, "\n"))
    poll.wait(function()
      -- Each look leaves garbage, which LuaJIT collects when its memory has doubled.
      local shown = worker_of(r).lua_memory
      return shown > lua / 2 and shown < 3 * lua + 2 ^ 20
    end, "`moongate status` to show the memory of Lua", 10)
  end)
end)

describe("a reload that one worker refuses while another waits for an application", function()
  it("costs neither of them anything", function()
    local r = rig.start({ control = true, workers = 2, before = HEAD })
    finally(function() r:stop() end) -- with the workers that it began with
    local text = process.read_file(r.server.dir .. "/route.lua")
    for _ = 1, 3 do
      process.write_file(r.server.dir .. "/route.lua", (text:gsub("return {", [[return {
        on_start = function()
          if moongate.worker == 2 then
            moongate.fastcgi("app", {
              SCRIPT_FILENAME = "/x", SCRIPT_NAME = "/x", QUERY_STRING = "delay=60000",
            })
          end
          moongate.sleep(0.1)
          error("one refuses")
        end,]], 1)))
      local result = r:command("reload")
      assert.equal(1, result.code)
      assert.matches("one refuses", result.stderr)
    end
    for _ = 1, 10 do
      assert.equal(200, r:get("").status)
    end
  end)
end)

describe("a worker that is late with its answer to one reload", function()
  it("has not answered the next one", function()
    local r = rig.start({
      control = true, workers = 2, before = HEAD,
      on_request = "do return { status = 200, body = 'old' } end",
    })
    finally(function() r:stop() end)
    local text = process.read_file(r.server.dir .. "/route.lua")
    local function try(on_start)
      process.write_file(r.server.dir .. "/route.lua", (text:gsub("return {", ([[return {
        script_timeout = "5s",
        on_start = function() %s end,]]):format(on_start), 1):gsub("'old'", "'new'")))
      return r:command("reload")
    end
    -- The second worker is still at this one when the next begins.
    local result = try([[if moongate.worker == 1 then error("the first") end
      local ends = moongate.now() + 0.7 while moongate.now() < ends do end]])
    assert.matches("the first", result.stderr)
    result = try([[if moongate.worker == 2 then moongate.sleep(0.5) error("the second") end]])
    assert.equal(1, result.code)
    assert.matches("the second", result.stderr)
    for _ = 1, 20 do
      assert.equal("old", r:get("").body)
    end
  end)
end)

describe("a reload", function()
  local r

  local function route(generation, stop_timeout)
    return ([[
      local moongate = require("moongate")
      local open = false
      return {
        control = %q, stop_timeout = %q,
        on_start = function()
          moongate.every(0.02, function() moongate.log("info", "tick of GENERATION") end)
          moongate.every(0.02, function()
            moongate.log("info", "long run of GENERATION")
            moongate.sleep(0.7)
            moongate.log("info", "end of a long run of GENERATION")
          end)
        end,
        on_request = function(req)
          if req.path == "/long" then
            moongate.spawn(function()
              moongate.sleep(600)
              moongate.log("info", "a long sleep of GENERATION has ended")
            end)
          elseif req.path == "/wait" then
            moongate.log("info", "a wait of GENERATION")
            local function wait()
              while not io.open(%q) do moongate.sleep(0.02) end
            end
            moongate.spawn(function()
              wait()
              moongate.sleep(0.1)
              moongate.log("info", "spawned by GENERATION")
            end)
            wait()
          end
          return { status = 200, body = "GENERATION" }
        end,
        on_stop = function() moongate.log("info", "stop of GENERATION") end,
      }]]):format(r.control, stop_timeout or "20s", r.server.dir .. "/go")
      :gsub("GENERATION", generation)
  end

  setup(function()
    r = rig.start({ control = true })
    process.write_file(r.server.dir .. "/route.lua", (route("one")))
    r:tell("reload")
  end)

  teardown(function() r:stop() end)

  it("lets what waits finish on its generation, and stops its timers", function()
    r.server:wait_log("tick of one")
    local client = http.open(r.address)
    client:send({ path = "/wait" })
    r.server:wait_log("a wait of one")
    process.write_file(r.server.dir .. "/route.lua", (route("two")))
    r:tell("reload")
    local mark = r.server:mark()
    assert.equal("two", get(r, "/").body)
    r.server:wait_log("tick of two", nil, mark)
    process.write_file(r.server.dir .. "/go", "")
    local res = client:receive("GET")
    client:close()
    assert.equal("one", res.body)
    r.server:wait_log("spawned by one")
    -- The old generation goes when the last of what it began has ended.
    r.server:wait_log("stop of one", 10)
    local text = r.server:errors()
    local _, begun = text:gsub("long run of one", "")
    local _, ended = text:gsub("end of a long run of one", "")
    assert.equal(begun - ended, ended, "a run was cut") -- the end's line has both
    local after = text:sub(mark + 1)
    assert.falsy(after:find("tick of one", 1, true), "the old timer ran on")
  end)

  it("ends what was spawned after stop_timeout", function()
    process.write_file(r.server.dir .. "/route.lua", (route("brief", "300ms")))
    r:tell("reload")
    get(r, "/long")
    process.write_file(r.server.dir .. "/route.lua", (route("two")))
    r:tell("reload")
    r.server:wait_log("stop of brief", 10)
    assert.falsy(r.server:errors():find("long sleep of brief", 1, true))
  end)

  it("that is refused leaves nothing of what its on_start has begun", function()
    for _ = 1, 3 do
      process.write_file(r.server.dir .. "/route.lua", (route("rejected"):gsub(
        "on_start = function%(%)", [[on_start = function()
          moongate.spawn(function() while true do moongate.sleep(0.01) end end)
          moongate.every(0.01, function() moongate.log("info", "tick of rejected") end)
          moongate.sleep(0.03)
          error("refused") ]])))
      assert.equal(1, r:command("reload").code)
    end
    poll.wait(function() return worker_of(r).generations == 1 end, "one generation to be left")
    local mark = r.server:mark()
    assert.equal("two", get(r, "/").body)
    r.server:wait_log("tick of two", nil, mark)
    assert.is_nil(r.server:errors():find("tick of rejected", mark + 1, true))
  end)

  it("of a generation whose on_start fails after waiting changes nothing", function()
    process.write_file(r.server.dir .. "/route.lua", (route("three"):gsub(
      "on_start = function%(%)", "on_start = function() moongate.sleep(0.05) error('late') ")))
    local result = r:command("reload")
    assert.equal(1, result.code)
    assert.matches("route%.lua:%d+: late", result.stderr)
    assert.equal("two", get(r, "/").body)
  end)
end)
