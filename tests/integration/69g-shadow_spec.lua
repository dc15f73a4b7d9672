-- moongate.shadow: copies of requests for another backend, behind the visitors' answers. What the
-- application answers is steered by the query of each request, and what the other one answers to
-- the copy by the header X-Copy.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local responder = require("tests.support.responder")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

local BEFORE = [[
local shadow = require("moongate.shadow")
local copied = shadow.wrap(%s, { name = "next", to = "new", sample = "100%%" %s })
]]
local PATIENT = ', timeout = "5m"' -- no copy is late, however busy the machine is
local PLAIN = '{ backend = "app", docroot = "/srv/app" }'
local ON_PARAMS = [[on_params = function(req, params)
  if params.MOONGATE_SHADOW then
    params.QUERY_STRING = req.headers["X-Copy"] or params.QUERY_STRING
    params.MOONGATE_SHADOW = nil
  end
end]]

-- A rig whose requests are copied to another responder.
local function start(options)
  options = options or {}
  local new = responder.start()
  local r = rig.start({
    before = BEFORE:format(PLAIN, (options.shadow or "") .. (options.timeout or PATIENT)),
    backends = ("new = %q"):format(new.address),
    workers = options.workers or 1, control = true, on_request = "do return copied(req) end",
    settings = ON_PARAMS,
  })
  finally(function()
    r:stop()
    new:stop()
  end)
  return r, new
end

local function ask(r, commands, copy, more)
  local request = more or {}
  request.headers = request.headers or {}
  request.headers["X-Copy"] = copy
  return r:get(commands, request)
end

local function report(r)
  return json.decode(r:tell("shadow", "report", "--json"))[1]
end

-- Waits until so many requests have been compared.
local function compared(r, count)
  return poll.wait(function()
    local found = report(r)
    return found.compared >= count and found
  end, count .. " requests to be compared")
end

-- How many requests the other responder has been sent.
local function copies(new)
  return select(2, new:log():gsub("START ", ""))
end

-- The findings as "kind count text".
local function findings(script)
  local list = {}
  for i, finding in ipairs(script.findings) do
    list[i] = ("%s %d %s"):format(finding.kind, finding.count, finding.text)
  end
  return list
end

describe("copies of requests", function()
  it("are compared with what the visitors got, over all workers", function()
    local r = start({ workers = 2, shadow = ', concurrency = 8' })
    local count = 0
    local function both(commands, copy, most)
      assert.equal("old", ask(r, "body=old" .. commands, copy).body, most)
      count = count + 1
      compared(r, count)
    end
    both("", "body=old")
    both("", "body=new%20one")
    both("", "body=new%20one")
    both("", "status=500&body=old")
    both("&type=text/plain", "body=old&type=text/html")
    both("&stderr=PHP%20message:%20PHP%20Warning:%20%20one%20in%20/a/x.php%20on%20line%203",
      "body=old&stderr=PHP%20message:%20PHP%20Deprecated:%20%20two%20in%20/b/x.php%20on%20line%203")
    both("", "fail=close-before-head")
    local found = report(r)
    assert.equal(1, found.same)
    assert.equal(7, found.scripts[1].seen)
    assert.same({
      "failed 1 no answer: closed", "error 1 200 -> 500", "header 1 Content-Type",
      "body 2 other bytes", "deprecated 1 PHP Deprecated: two in /b/x.php:3",
      "gone 1 PHP Warning: one in /a/x.php:3",
    }, findings(found.scripts[1]))
    local text = r:tell("shadow", "report", "--name", "next")
    assert.matches("^shadow 'next' to backend 'new', 100%% of the safe requests: 7 requests "
      .. "compared, 1 the same\n", text)
    assert.matches("\n  error           1  200 %-> 500\n +GET [^ ]+/x%.php%?body=old\n", text)
    assert.matches("%(text/plain %-> text/html%)", text)
    assert.matches("%(3 bytes %-> 7 bytes%)", text)
    r:tell("reload")
    assert.equal(7, report(r).compared)
    assert.equal("what was found is forgotten\n", r:tell("shadow", "clear"))
    assert.equal(0, report(r).compared)
  end)

  it("have the params that the visitors' requests had, with their settings of PHP", function()
    local root = process.tempdir("root")
    process.write_file(root .. "/x.php", [[<?php
unset($_SERVER["REQUEST_TIME"], $_SERVER["REQUEST_TIME_FLOAT"]);
ksort($_SERVER);
echo "memory_limit ", ini_get("memory_limit"), "\n", json_encode($_SERVER), "\n";]])
    local fpm = php.start({ root = root, values = { memory_limit = true } })
    local INI = 'ini = { memory_limit = "128M" }'
    local r = rig.start({
      before = BEFORE:format(([[{ backend = "app", root = %q, params = { APP = "1" },
        ini = { memory_limit = "64M" } }]]):format(root), PATIENT),
      backend = INI, backends = ("new = { servers = { %q }, %s }"):format(fpm.address, INI),
      responder = false, servers = { fpm.address }, control = true,
      on_request = "do return copied(req) end", settings = ON_PARAMS,
    })
    finally(function()
      r:stop()
      fpm:stop()
    end)
    for count, language in ipairs({ "de", "en" }) do
      local res = r:get("a=1", { headers = { ["Accept-Language"] = language } })
      assert.equal(200, res.status, res.body)
      assert.matches("^memory_limit 64M\n", res.body)
      local script = compared(r, count).scripts[1]
      assert.same({}, findings(script))
      assert.is_nil(script.varies)
    end
  end)

  it("ignore what differs from itself, and ask no more than twice", function()
    local r, new = start({ shadow = ', headers = { "X-Connection" }' })
    -- The other one has had one request more on each of its connections, so it says 2, then 3.
    ask(r, "body=a&who", "body=a&who")
    compared(r, 1)
    ask(r, "body=a", "body=a&who")
    local found = compared(r, 2)
    assert.same({}, findings(found.scripts[1]))
    assert.is_true(copies(new) <= 4)
  end)

  it("are made of safe requests without a visitor's cookies or login", function()
    local r, new = start({ shadow = ', cookies = { "lang" }, '
      .. 'when = function(req) return req.args.never == nil end' })
    local function headers(name, value)
      return { headers = { [name] = value } }
    end
    ask(r, "body=a", nil, { method = "POST", body = "x" })
    ask(r, "body=a", nil, headers("Cookie", "PHPSESSID=1; lang=de"))
    ask(r, "body=a", nil, headers("Authorization", "Basic YTpi"))
    ask(r, "body=a&Never=1&n=1", nil, { path = "/x.php?body=a&never=1" })
    ask(r, "body=a", nil, { method = "GET", body = "x" })
    assert.equal(0, copies(new))
    ask(r, "body=a", nil, headers("Cookie", "lang=de"))
    ask(r, "body=a", nil, { method = "HEAD" })
    local found = compared(r, 2)
    assert.equal(2, found.same)
    assert.equal(2, found.skipped["cookies or a login of the visitor's"])
    assert.equal(1, found.skipped["it has a body, or its answer was none of a responder"])
    assert.equal(2, copies(new))
    assert.equal("shadow.next is off\n", r:tell("set", "shadow.next", "off"))
    ask(r, "body=a")
    assert.equal("off", report(r).sample)
    assert.equal(2, copies(new))
  end)
end)

describe("visitors", function()
  it("never wait for copies, of which there are no more than the cap, over all workers", function()
    local r, new = start({ workers = 2, shadow = ", concurrency = 2" })
    local function held()
      return select(2, new:log():gsub("HELD ", ""))
    end
    for _ = 1, 2 do
      local before = held()
      assert.equal("a", ask(r, "body=a", "body=a&delay=hold").body)
      poll.wait(function() return held() > before end, "a copy to be held")
    end
    for _ = 1, 12 do
      assert.equal("a", ask(r, "body=a", "body=a&delay=hold").body)
    end
    poll.wait(function()
      return report(r).skipped["as many copies as may be were under way"] == 12
    end, "twelve requests that are not copied")
    assert.equal(2, copies(new))
    new.process:kill("USR2")
    assert.equal(2, compared(r, 2).same)
    ask(r, "body=a")
    compared(r, 3)
  end)

  it("do not keep a copy waiting for ever, and its place counts meanwhile", function()
    local r, new = start({ shadow = ", concurrency = 1", timeout = ', timeout = "3s"' })
    ask(r, "body=a", "delay=hold")
    local found = compared(r, 1)
    assert.same({ "failed 1 no answer: timeout" }, findings(found.scripts[1]))
    ask(r, "body=a")
    poll.wait(function()
      return report(r).skipped["as many copies as may be were under way"]
    end, "a request that is not copied")
    assert.equal(1, copies(new))
  end)

  it("notice nothing of a backend that is away, or that serves them itself", function()
    local r, new = start()
    new:stop()
    assert.equal("a", ask(r, "body=a").body)
    poll.wait(function()
      for reason in pairs(report(r).skipped) do
        if reason:find("^the other backend") then
          return true
        end
      end
      return false
    end, "a copy without a server")
    assert.equal(0, report(r).compared)
  end)
end)

describe("moongate shadow", function()
  it("says what is wrong", function()
    local r = start()
    local function fails(...)
      return r:command(...).stderr
    end
    assert.equal("moongate: the route has no shadow 'nxt'\n",
      fails("shadow", "report", "--name", "nxt"))
    assert.matches("^moongate shadow: expected `report` or `clear`, got 'show'\n",
      fails("shadow", "show"))
    local plain = rig.start({ control = true, responder = false, servers = { "127.0.0.1:1" } })
    finally(function() plain:stop() end)
    assert.equal("moongate: the route has no shadow (moongate.shadow)\n",
      plain:command("shadow", "report").stderr)
  end)
end)

describe("the example shadow", function()
  it("does what its page says", function()
    local socket = process.tempdir("sock")
    local control = "unix:" .. process.tempdir("control") .. "/control.sock"
    local gate = server.start({
      folder = "examples/shadow", route = "route.lua",
      args = { "--php", "unix:" .. socket .. "/php.sock", "--control", control },
    })
    finally(function() gate:stop() end)
    local function tell(...)
      local argv = { ... }
      argv[#argv + 1] = "--control"
      argv[#argv + 1] = control
      local result = server.command(argv)
      assert.equal(0, result.code, result.stderr)
      return result.stdout
    end
    for i, page in ipairs({ "/", "/clock.php", "/price.php", "/report.php" }) do
      assert.equal(200, http.get(gate.address, page).status)
      poll.wait(function()
        return json.decode(tell("shadow", "report", "--json"))[1].compared == i
      end, "a comparison of " .. page)
    end
    local text = tell("shadow", "report")
    local expected = {
      "4 requests compared, 2 the same", "/new/report.php: 1 request compared",
      "200 -> 500", "PHP Fatal error: Uncaught Error: Call to undefined function each()",
      "/new/price.php: 1 request compared", "(14 bytes -> 13 bytes)", "passing null is deprecated",
      "2 scripts without any difference",
    }
    local at = 1
    for _, words in ipairs(expected) do
      local found = text:find(words, at, true)
      assert.truthy(found, words .. " in\n" .. text)
      at = found
    end
    local result = server.command({ "test", "examples/shadow/route.lua" })
    assert.equal(0, result.code, result.stderr)
  end)
end)
