-- moongate.canary: the share over all workers, reloads and `moongate set`; who stays, who falls
-- back, and the end of the error budget. Applications are steered by the query of each request.

local http = require("tests.support.http")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local responder = require("tests.support.responder")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

local BEFORE = [[
local canary = require("moongate.canary")
local split = canary.split {
  name = "next", share = %q, least = 10, budget = "20%%",
  stable = { backend = "app", docroot = "/srv/stable" },
  canary = { backend = "new", docroot = "/srv/next", intercept_errors = { 503 } },
  %s
}
]]

-- A rig whose backend is stable, with the responder that is the canary.
local function start(share, more, workers)
  local new = responder.start()
  local r = rig.start({
    before = BEFORE:format(share, more or 'sticky = { header = "X-User" }'),
    backends = ("new = %q"):format(new.address), workers = workers or 1, control = true,
    on_request = "do return split(req) end",
    settings = [[on_error = function(req, err)
      return { status = err.status, body = ("own: %s %d"):format(err.kind, err.status) } end]],
  })
  finally(function()
    r:stop()
    new:stop()
  end)
  return r, new
end

-- Whose answer a user gets.
local function side(r, user, commands, method)
  local res = r:get("dump" .. (commands or ""), { method = method or "GET",
    headers = { ["X-User"] = user } })
  assert.equal(200, res.status, res.body)
  return rig.params(res).DOCUMENT_ROOT == "/srv/next" and "canary" or "stable"
end

local function sides(r)
  local list, count = {}, 0
  for i = 1, 40 do
    list[i] = side(r, "user " .. i)
    count = count + (list[i] == "canary" and 1 or 0)
  end
  return list, count
end

describe("the share", function()
  it("is set for all workers, kept over a reload, and takes nobody away when it grows", function()
    local r = start("0%", nil, 2)
    local _, count = sides(r)
    assert.equal(0, count)
    assert.equal("canary.next is 30%\n", r:tell("set", "canary.next", "30%"))
    local list
    list, count = sides(r)
    assert.is_true(count > 3 and count < 25, count)
    assert.same(list, (sides(r)))
    r:tell("reload")
    assert.same(list, (sides(r)))
    assert.equal("30%", r:status().values["canary.next"])
    r:tell("set", "canary.next", "60%")
    local more = sides(r)
    for i, was in ipairs(list) do
      assert.is_true(was == "stable" or more[i] == "canary")
    end
    r:tell("set", "canary.next", "100%")
    assert.equal(40, select(2, sides(r)))
    r:tell("set", "canary.next", "off")
    assert.equal(0, select(2, sides(r)))
    local result = r:command("set", "canary.next", "many")
    assert.equal("moongate: canary.next: expected \"10%\", \"0.5%\" or \"off\", got 'many'\n",
      result.stderr)
  end)

  it("keeps a browser by a cookie", function()
    local r = start("50%", 'sticky = "cookie"')
    local function ask(cookie)
      local res = r:get("dump", { headers = { Cookie = cookie } })
      return rig.params(res).DOCUMENT_ROOT, res.headers["set-cookie"]
    end
    local seen = {}
    for _ = 1, 20 do
      local root, cookie = ask()
      local pair = cookie:match("^(moongate_canary_next=%d+); Path=/; Max%-Age=31536000; HttpOnly; "
        .. "SameSite=Lax$")
      local again, none = ask(pair)
      assert.equal(root, again)
      assert.is_nil(none)
      seen[root] = true
    end
    assert.same({ ["/srv/next"] = true, ["/srv/stable"] = true }, seen)
    assert.equal("/srv/next", (ask("moongate_canary_next=4999")))
    assert.equal("/srv/stable", (ask("moongate_canary_next=5000")))
    assert.truthy(select(2, ask("moongate_canary_next=12345")))
  end)
end)

describe("a canary that fails", function()
  it("gives safe requests to stable, whatever it was", function()
    local r, new = start("100%")
    assert.equal("canary", side(r, "a"))
    new:stop()
    assert.equal("stable", side(r, "a"))
    assert.equal("stable", side(r, "a", nil, "OPTIONS"))
    local res = r:get("", { method = "POST", body = "a=1" })
    assert.equal("own: connect 503", res.body)
  end)

  it("is stopped when its budget is spent, for all workers, and says so", function()
    local r, new = start("100%", nil, 2)
    assert.equal("canary", side(r, "a"))
    new:stop()
    for _ = 1, 12 do
      assert.equal("stable", side(r, "a")) -- nobody has noticed
    end
    local text = poll.wait(function()
      return r:status().values["canary.next"]:match("^stopped.*")
    end, "the canary to be stopped")
    assert.matches("^stopped at 100%%: %d+ of %d+ requests failed$", text)
    assert.truthy(r:tell("status"):find("canary.next is " .. text, 1, true))
    r.server:wait_log("route%.lua:%d+: the canary 'next' is stopped at 100%%: .*"
      .. "`moongate set canary%.next 100%%`")
    assert.equal(1, select(2, r.server:errors():gsub("the canary 'next' is stopped", "")))
    r:tell("reload")
    local again = responder.start({ addresses = { new.address } })
    for _ = 1, 6 do
      assert.equal("stable", side(r, "a"))
    end
    r:tell("set", "canary.next", "100%")
    for _ = 1, 30 do
      assert.equal("canary", side(r, "a"))
    end
    assert.equal("100%", r:status().values["canary.next"])
    again:stop()
  end)

  it("leaves statuses to the route as the decision says", function()
    local r = start("100%")
    local function post(commands)
      return r:get(commands, { method = "POST", body = "a=1" })
    end
    assert.equal("own: status 503", post("status=503").body)
    local res = post("status=500&body=mine")
    assert.equal(500, res.status)
    assert.equal("mine", res.body)
    assert.equal("mine", r:get("status=404&body=mine").body)
  end)
end)

describe("the example canary", function()
  it("does what its page says", function()
    local socket = process.tempdir("sock")
    local control = "unix:" .. process.tempdir("control") .. "/control.sock"
    local gate = server.start({
      folder = "examples/canary", route = "route.lua",
      args = { "--php", "unix:" .. socket .. "/php.sock", "--control", control },
    })
    finally(function() gate:stop() end)
    local OLD, NEXT = "the release that everybody knows\n", "the next release\n"
    local function ask(path, headers)
      return http.get(gate.address, path, headers).body
    end
    local function set(value)
      local result = server.command({ "set", "canary.release", value, "--control", control })
      assert.equal(0, result.code, result.stderr)
    end
    assert.equal(OLD, ask("/"))
    assert.equal(NEXT, ask("/", { ["X-Release"] = "next" }))
    set("10%")
    assert.equal(NEXT, ask("/", { Cookie = "moongate_canary_release=999" }))
    assert.equal(OLD, ask("/", { Cookie = "moongate_canary_release=1000" }))
    assert.equal(OLD, ask("/?fail=1", { Cookie = "moongate_canary_release=999" }))
    set("off")
    assert.equal(OLD, ask("/", { Cookie = "moongate_canary_release=0" }))
    local result = server.command({ "test", "examples/canary/route.lua" })
    assert.equal(0, result.code, result.stderr)
  end)
end)
