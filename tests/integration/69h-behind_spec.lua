-- Copies for a backend that serves visitors as well: they come behind all visitors' requests, with
-- one place at the backend as with two.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local poll = require("tests.support.poll")
local responder = require("tests.support.responder")
local rig = require("tests.support.rig")

-- /new/* is a visitor's own request of the backend `new`, which gets copies of all others.
local BEFORE = [[
local shadow = require("moongate.shadow")
local copied = shadow.wrap({ backend = "app", docroot = "/srv/app" },
  { name = "next", to = "new", sample = "100%%", timeout = "5m", concurrency = 8 })
]]
local ON_REQUEST = [[
do return req.path:find("^/new/") and { backend = "new", docroot = "/srv/new" } or copied(req) end
]]
local ON_PARAMS = [[on_params = function(req, params)
  if params.MOONGATE_SHADOW then
    params.QUERY_STRING = req.headers["X-Copy"] or params.QUERY_STRING
    params.MOONGATE_SHADOW = nil
  end
end]]

for places = 1, 2 do
  describe(("with max_conns = %d a copy"):format(places), function()
    local r, new

    before_each(function()
      new = responder.start()
      r = rig.start({
        before = BEFORE:format(), control = true, workers = 2, on_request = ON_REQUEST,
        backends = ("new = { servers = { { address = %q, max_conns = %d } }, "
          .. "queue_timeout = '5m' }"):format(new.address, places),
        settings = ON_PARAMS,
      })
    end)

    after_each(function()
      r:stop()
      new:stop()
    end)

    local function held()
      return select(2, new:log():gsub("HELD ", ""))
    end

    local function report()
      return json.decode(r:tell("shadow", "report", "--json"))[1]
    end

    local function skipped(count)
      poll.wait(function()
        return (report().skipped or {})["the other backend: busy: no connection is to spare"]
          == count
      end, count .. " copies to be left out")
    end

    --- A request of `new` that it holds.
    local function visit()
      local before = held()
      local client = http.open(r.address)
      client:send({ path = "/new/x.php?delay=hold&body=mine" })
      poll.wait(function() return held() == before + 1 end, "a visitor to be served")
      return client
    end

    it("takes no place of a visitor's", function()
      assert.equal(200, r:get("body=x", { headers = { ["X-Copy"] = "delay=hold&body=x" } }).status)
      poll.wait(function() return held() == 1 end, "the copy to be held")
      local clients = {}
      for i = 1, places do
        clients[i] = visit() -- although the copy is still under way
      end
      new.process:kill("USR2")
      for _, client in ipairs(clients) do
        assert.equal("mine", client:receive().body)
        client:close()
      end
      poll.wait(function() return report().compared == 1 end, "the copy to be compared")
    end)

    it("is left out where it would be the last place, or visitors wait", function()
      local clients = {}
      for i = 1, places do
        clients[i] = visit()
        assert.equal(200, r:get("body=x").status)
        skipped(i)
      end
      local waits = http.open(r.address)
      waits:send({ path = "/new/x.php?body=next" })
      poll.wait(function()
        for _, backend in ipairs(r:status().backends) do
          if backend.name == "new" and backend.queued == 1 then
            return true
          end
        end
      end, "a visitor to wait")
      assert.equal(200, r:get("body=x").status)
      poll.wait(function()
        return (report().skipped or {})["the other backend is busy"] == 1
      end, "a copy to be left out")
      new.process:kill("USR2")
      assert.equal("next", waits:receive().body)
      waits:close()
      for _, client in ipairs(clients) do
        assert.equal("mine", client:receive().body)
        client:close()
      end
    end)
  end)
end
