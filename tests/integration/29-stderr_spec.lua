-- What an application writes to FCGI_STDERR: PHP's joined messages taken apart, given to on_stderr,
-- one line each in the error log with the paths of this machine, and counted. 34-php-engine_spec
-- has the same with a real PHP.

local http = require("tests.support.http")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

-- What on_stderr got, in the access log: level|text|file|line for each message.
local TELL = [[
  on_stderr = function(req, messages)
    local told = req.ctx.told or {}
    for _, m in ipairs(messages) do
      told[#told + 1] = ("%s|%s|%s|%s"):format(m.level, m.text:gsub("\n", "~"), tostring(m.file),
        tostring(m.line))
    end
    req.ctx.told = told
    if req.args.o == "raise" then error("on_stderr broke") end
    return req.args.o == "swallow"
  end,
  on_log = function(req)
    local told = req.ctx.told or { "nothing" }
    return "told " .. (req.args.t or "") .. " " .. table.concat(told, " && ")
  end
]]

local WARNING = "PHP message: PHP Warning:  Undefined variable $a in /srv/app/x.php on line 3"
local NOTICE = "PHP message: PHP Notice:  Odd; PHP is odd in /srv/app/lib/y.php on line 44"
local DEPRECATED = "PHP message: PHP Deprecated:  Old ways in /srv/app/x.php on line 5"
local FATAL = "PHP message: PHP Fatal error:  Uncaught Error: moon in /srv/app/x.php:7\n"
  .. "Stack trace:\n#0 /srv/app/x.php(9): deep()\n#1 {main}\n  thrown in /srv/app/x.php on line 7"
local OWN = "PHP message: what error_log() wrote"

local function command(text)
  return "stderr=" .. http.escape(text)
end

describe("on_stderr", function()
  local r

  setup(function()
    r = rig.start({ settings = TELL, backend = "keepalive = 2" })
  end)

  teardown(function() r:stop() end)

  -- The list that the hook got for a request.
  local tag = 0
  local function told(commands)
    tag = tag + 1
    local res = r:get(("%s&t=tag%dend"):format(commands, tag))
    local line = r.server:wait_access(("^told tag%dend "):format(tag))
    local list = {}
    for message in (line:match("^told %S+ (.*)$") .. " && "):gmatch("(.-) && ") do
      list[#list + 1] = message
    end
    return list, res
  end

  it("gets each of PHP's joined messages, with its level and its place", function()
    local text = table.concat({ WARNING, NOTICE, DEPRECATED, OWN }, "; ")
    for _, cut in ipairs({ "", "&record=1", "&record=7", "&record=80", "&write=5" }) do
      local list, res = told(command(text) .. cut)
      assert.equal(200, res.status)
      assert.same({
        "warning|Undefined variable $a|/srv/app/x.php|3",
        "notice|Odd; PHP is odd|/srv/app/lib/y.php|44",
        "deprecated|Old ways|/srv/app/x.php|5",
        "info|what error_log() wrote|nil|nil",
      }, list, cut)
    end
  end)

  it("gets a stack trace as one message", function()
    local list = told(command(WARNING .. "; " .. FATAL) .. "&status=500")
    assert.equal(2, #list)
    assert.is_truthy(list[2]:find("^fatal|Uncaught Error: moon"), list[2])
    assert.is_truthy(list[2]:find("#1 {main}", 1, true), list[2])
    assert.is_truthy(list[2]:find("|/srv/app/x.php|7", 1, true), list[2])
  end)

  it("is not called when nothing was written", function()
    assert.same({ "nothing" }, (told("body=x")))
  end)

  it("gets what came before, within and after the reply's body", function()
    for _, at in ipairs({ "head", "body", "end" }) do
      local list = told(command(WARNING) .. "&size=5000&pieces=2&stderr_at=" .. at)
      assert.same({ "warning|Undefined variable $a|/srv/app/x.php|3" }, list, at)
    end
  end)

  it("may swallow them", function()
    local mark = r.server:mark()
    local list = told(command(WARNING) .. "&o=swallow")
    assert.equal(1, #list)
    r:get(command(OWN)) -- a line after it, to wait for
    r.server:wait_log("what error_log", nil, mark)
    assert.is_nil(r.server:errors():find("Undefined variable", mark, true))
  end)

  it("that fails loses neither the messages nor the reply", function()
    local mark = r.server:mark()
    local _, res = told(command(WARNING) .. "&o=raise&size=2000")
    assert.equal(200, res.status)
    assert.equal(rig.pattern(2000), res.body)
    r.server:wait_log("route%.lua:%d+: on_stderr broke", nil, mark)
    r.server:wait_log("Undefined variable", nil, mark)
  end)
end)

describe("STDERR without an end", function()
  it("reaches on_stderr by and by, and does not fill the worker", function()
    local r = rig.start({
      server = { env = server.MEASURED },
      settings = [[
        on_stderr = function(req, messages)
          req.ctx.n = (req.ctx.n or 0) + #messages
          return true
        end,
        on_log = function(req) return "messages " .. tostring(req.ctx.n) end
      ]],
    })
    finally(function() r:stop() end)
    r:get("stderr_size=1000000&size=10")
    local before = r.server:memory()
    assert.equal(200, r:get("stderr_size=30000000&size=10", { timeout = 300 }).status)
    r.server:wait_access("messages %d%d%d%d%d+")
    local more = r.server:memory() - before
    local allowed = server.binary():find("asan", 1, true) and 24 or 8
    assert.is_true(more < allowed * 1024 * 1024, ("%.1f MB more"):format(more / 1024 / 1024))
  end)
end)

describe("the error log", function()
  it("has a line for each message", function()
    local r = rig.start()
    finally(function() r:stop() end)
    r:get(command(table.concat({ WARNING, FATAL, OWN }, "; ")))
    r.server:wait_log("what error_log")
    local found = {}
    for line in r.server:errors():gmatch("[^\n]+") do
      if line:find("PHP Warning: Undefined variable $a in /srv/app/x.php:3", 1, true) then
        found.warning = line
      elseif line:find("PHP Fatal error: Uncaught Error: moon", 1, true) then
        found.fatal = line
      elseif line:find("what error_log() wrote", 1, true) then
        found.own = line
      end
    end
    assert.is_truthy(found.warning and found.fatal and found.own, r.server:errors())
    assert.is_truthy(found.fatal:find("{main}", 1, true), "the trace is on the same line")
    assert.is_nil(r.server:errors():find("\n#0", 1, true))
  end)

  it("has the paths of this machine, not the container's", function()
    local r = rig.start({
      backend = [[root = "/srv/www/site", docroot = "/app"]],
      on_request = [[do return { backend = "app" } end]],
      settings = TELL,
    })
    finally(function() r:stop() end)
    r:get(command("PHP message: PHP Warning:  No file /app/a.txt in /app/lib/x.php on line 3"))
    local line = r.server:wait_log("PHP Warning")
    assert.is_truthy(line:find("/srv/www/site/lib/x.php:3", 1, true), line)
    assert.is_truthy(line:find("/srv/www/site/a.txt", 1, true), line)
    r.server:wait_access("|/srv/www/site/lib/x%.php|3")
  end)

  it("is not forged by what an application writes", function()
    local r = rig.start()
    finally(function() r:stop() end)
    r:get(command("PHP message: a\n2031-01-01 [error] forged\r\27[31m\0b; " .. OWN))
    r.server:wait_log("what error_log")
    assert.is_nil(r.server:errors():find("\n2031", 1, true))
    assert.is_nil(r.server:errors():find("[%z\r\27]"))
  end)
end)

describe("a message that names the rule", function()
  it("comes from what decided, without a second call of on_request", function()
    local r = rig.start({
      before = [[
        local calls, handled = 0, 0
        local router = require("moongate.router").new()
        router:path("/shop/*", function()
          handled = handled + 1
          return { backend = "app", docroot = "/srv/lost", script = "/lost.php" }
        end)
      ]],
      on_request = [[
        if req.path == "/calls" then
          do return { status = 200, body = calls .. " " .. handled } end
        end
        calls = calls + 1
        do return router(req) end
      ]],
    })
    finally(function() r:stop() end)
    for calls = 1, 3 do
      local mark = r.server:mark()
      local path = "/shop/lost.php?status=404&" .. command("Primary script unknown")
      assert.equal(404, http.get(r.address, path).status)
      r.server:wait_log("route%.lua:%d+ path '/shop/%*'", nil, mark)
      assert.equal(("%d %d"):format(calls, calls), http.get(r.address, "/calls").body)
    end
  end)
end)

describe("the status", function()
  it("counts what each backend's applications have written", function()
    local r = rig.start({ control = true })
    finally(function() r:stop() end)
    local function count()
      local text = r:tell("status", "--json")
      return tonumber(text:match('"messages"%s*:%s*(%d+)'))
    end
    assert.equal(0, count())
    r:get(command(table.concat({ WARNING, NOTICE, OWN }, "; ")))
    r.server:wait_log("what error_log")
    assert.equal(3, count())
  end)
end)
