-- Specs of moongate.cli.screen.

local sample = require("moongate.cli.sample")
local screen = require("moongate.cli.screen")

local EVIL = "a\27[2Jb\194\155c\228d\n"

describe("the picture of moongate top", function()
  local model, view
  before_each(function()
    local function server(address, fields)
      local one = {
        address = address, serving = 1, max_conns = 8, latency = 0.0041, requests = 5, fails = 0,
        up = true, draining = false,
      }
      for key, value in pairs(fields or {}) do
        one[key] = value
      end
      return one
    end
    model = {
      address = "unix:/run/x.sock", now = sample.read("", 100), status = {
        version = "1.2.3", uptime = 3700, generation = 4, workers = { { connections = 2 } },
        degraded = {
          { what = "held", text = "backend 'app' is held: its requests wait" },
          { what = "down", text = "backend 'b': server 10.0.0.3:9000 is down" },
        },
        tenants = { { name = "shop", active = 4, queued = 9 } },
        errors = {
          { last = 0, holds = true, what = "on_request", count = 7,
            text = "/srv/my route/route.lua:3: " .. EVIL },
          { last = 9, holds = false, what = "reload", text = "route.lua:1: x", count = 1 },
        },
        backends = {
          { name = "app", held = true, queued = 3, servers = {
            server("10.0.0.1:9000"), server("10.0.0.2:9000", { draining = true, serving = 9 }),
          } },
          { name = "b", held = false, queued = 0, servers = {
            server("10.0.0.3:9000", { up = false, serving = 5 }),
          } },
        },
      },
    }
    view = screen.view(true)
    view.width, view.height = 80, 24
  end)

  local function lines()
    return (screen.lines(model, view))
  end

  local function servers()
    local list = {}
    for i, row in ipairs(screen.rows(model, view)) do
      list[i] = row[2]:match("(%d):9000$")
    end
    return table.concat(list)
  end

  it("has the share of the cache, where it was asked lately", function()
    assert.is_nil(lines()[3]:find("cache", 1, true))
    model.before = sample.read("", 90)
    model.now.cached = { hit = 70, stale = 5, miss = 25, bypass = 400 }
    assert.matches(" workers, cache 75%% of 10%.0 req/s$", lines()[3])
  end)

  it("has what is degraded, the servers, and what keys do", function()
    local got, heads = screen.lines(model, view)
    assert.equal(24, #got)
    assert.equal("moongate 1.2.3 at unix:/run/x.sock, up 1h 1m, generation 4", got[1])
    assert.equal("! backend 'app' is held: its requests wait; backend 'b': server 10.0.0.3:9000 i~",
      got[4])
    assert.matches("^BACKEND +SERVER +STATE +REQ/S +ACTIVE +QUEUED +LATENCY +FAILS *$", got[heads])
    assert.matches("^app +10%.0%.0%.1:9000 +up +0 +1 +0 +4%.1 ms +0$", got[heads + 1])
    assert.matches("^q quit", got[24])
    model.silent = "no instance answers"
    assert.equal("! NO ANSWER: no instance answers", lines()[4])
  end)

  it("is never larger than the terminal", function()
    model.status.backends[1].servers[1].address = "unix:/" .. ("\195\164"):rep(200)
    for width = 1, 130 do
      for _, height in ipairs({ 1, 2, 5, 6, 7, 24 }) do
        view.width, view.height = width, height
        for number = 1, #screen.TABLES do
          view.table = number
          local got = lines()
          assert.is_true(#got <= height)
          for _, line in ipairs(got) do
            assert.is_true(select(2, line:gsub("[^\128-\191]", "")) <= width, line)
          end
        end
      end
    end
  end)

  it("has no control sequence of a client", function()
    model.status.backends[1].name = EVIL
    model.now.tenants[EVIL] = 1
    model.requests = { { path = EVIL, host = EVIL, client = EVIL } }
    model.messages = { { script = EVIL, text = EVIL, last = 0, count = 1 } }
    model.generations = { { reason = EVIL, error = EVIL, outcome = "failed", at = 0 } }
    model.now.scripts = {
      [EVIL] = { script = EVIL, requests = 1, seconds = 1, errors = 0, messages = 0 },
    }
    for _, utf8 in ipairs({ true, false }) do
      view.utf8, view.width = utf8, 200
      for number = 1, #screen.TABLES do
        view.table = number
        local text = table.concat(lines(), "|")
        assert.is_nil(text:find("[%c\127]"))
        assert.is_nil(text:find("\194[\128-\159]"))
        assert.equal(utf8, text:find("[\128-\255]") ~= nil or utf8)
      end
    end
  end)

  it("is sorted, turned round and filtered by keys", function()
    assert.equal("123", servers()) -- none has a rate, so by name
    assert.is_false(screen.keys(view, "s"))
    assert.equal("231", servers()) -- by what is active
    screen.keys(view, "r")
    assert.equal("132", servers())
    screen.keys(view, "rSSS")
    assert.equal("123", servers())
    screen.keys(view, "/AP")
    assert.matches("^filter: AP_", lines()[24])
    assert.equal("12", servers())
    screen.keys(view, "q\127\8P0\8\r") -- here q is a letter
    assert.equal("12", servers())
    assert.matches("^q quit  filter: AP  %[1 servers%]", lines()[24])
    screen.keys(view, "\27")
    assert.equal("123", servers())
    assert.is_true(screen.keys(view, "q"))
  end)

  it("shows other tables, and scrolls", function()
    screen.keys(view, "\t")
    assert.matches("^q quit  1 %[2 tenants%] 3 4 5 6 7 8  s sort: REQ/S ", lines()[24])
    view.width = 160
    assert.matches("Tab 1 servers %[2 tenants%] 3 scripts 4 hooks 5 requests ", lines()[24])
    view.width = 80
    screen.keys(view, "5")
    assert.matches("%[5 requests%]", lines()[24])
    assert.matches("this instance has no requests to show", table.concat(lines(), "\n"))
    model.requests = {}
    for i = 1, 50 do
      model.requests[i] = { age = i, path = "/" .. i, sent = 0, state = "waiting" }
    end
    assert.matches("/50 ", lines()[6])
    screen.keys(view, "\27[B\27OBj\27[5~")
    assert.matches("/47 ", lines()[6])
    screen.keys(view, "kkkkkk")
    assert.matches("/50 ", lines()[6])
    screen.keys(view, ("j"):rep(200))
    assert.matches("/1 ", lines()[23])
    assert.is_true(#lines() == 24)
    screen.keys(view, "8\t")
    assert.matches("%[1 servers%]", lines()[24])
    screen.keys(view, "9")
    assert.matches("%[1 servers%]", lines()[24])
  end)

  it("shows the load of tenants, scripts by time, errors, messages and generations", function()
    model.now.tenants.shop = 70
    screen.keys(view, "2")
    assert.matches("^shop +4 +9 +0 +0 +70$", lines()[6])
    local function script(name, requests, seconds, errors)
      return {
        script = name, requests = requests, seconds = seconds, errors = errors, messages = 2,
      }
    end
    model.before = sample.read("", 90, { script("/a.php", 10, 2, 0) })
    model.now = sample.read("", 100, {
      script("/a.php", 30, 7, 1), script("/new.php", 5, 20, 0), script("/old.php", 0, 0, 0),
    })
    screen.keys(view, "3")
    assert.matches("^/new%.php +0%.50 +2%.0 +4000 ms +0 +2 +5$", lines()[6])
    assert.matches("^/a%.php +2%.0 +0%.50 +233 ms +1 +2 +30$", lines()[7])
    assert.matches("^/old%.php +0 +0 +0 +2 +0$", lines()[8])
    screen.keys(view, "6")
    assert.matches("^%d%d:%d%d:%d%d  over   reload +route%.lua:1: x +1$", lines()[6])
    assert.matches("^%d%d:%d%d:%d%d  HOLDS  on_request +route%.lua:3: a.* +7$", lines()[7])
    model.messages = { { script = "/srv/a.php", text = "PHP Warning: x", last = 1, count = 3 } }
    screen.keys(view, "7")
    assert.matches("^%d%d:%d%d:%d%d  /srv/a%.php +PHP Warning: x +3$", lines()[6])
    model.generations = {
      { number = 2, outcome = "serving", at = 9, hash = "aabb", kept = true, reason = "reload" },
      { outcome = "failed", at = 8, reason = "reload", error = "route.lua:1: x\nmore" },
    }
    screen.keys(view, "8")
    assert.matches("^%d%d:%d%d:%d%d +2  serving  aabb +kept  reload *$", lines()[6])
    assert.matches("^%d%d:%d%d:%d%d +failed +reload: route%.lua:1: x *$", lines()[7])
  end)
end)
