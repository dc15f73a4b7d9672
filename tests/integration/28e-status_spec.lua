-- The status document (`GET /status`, `moongate status --json`) and what the contract says of it:
-- each key of the one stands in the other.

local http = require("tests.support.http")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")

--- What the contract names: by the name of a group its keys; "" are those of the document.
local function named()
  local text = process.read_file("docs/contract.md"):match("\n%- %*%*Status%*%*.-\n%- ")
  assert(text, "docs/contract.md, section 12: there is no paragraph **Status**")
  local groups = { [""] = {} }
  for name in text:match("`([%w_,%s]+)`%."):gmatch("[%w_]+") do
    groups[""][name] = true
  end
  for group, keys in text:gmatch("`([%w_]+)`: `([%w_,%s]+)`") do
    groups[group] = {}
    for key in keys:gmatch("[%w_]+") do
      groups[group][key] = true
    end
  end
  return groups
end

-- What stands below these is by the names of the route, or by coding.
local BY_NAME = { values = true, compression = true }
-- What is a table in servers and backends, with a group of its own in the contract.
local INNER = { servers = true, totals = true, removed = true, pool = true }

local function note(seen, group, value)
  seen[group] = seen[group] or {}
  for key, inner in pairs(value) do
    seen[group][key] = true
    if type(inner) == "table" and not BY_NAME[key] and (group == "" or INNER[key]) then
      local list = #inner > 0 and inner or next(inner) and { inner } or {}
      for _, one in ipairs(list) do
        note(seen, key, one)
      end
    end
  end
  for _, one in pairs(group == "" and value.compression or {}) do
    note(seen, "compression", one)
  end
end

--- One whose instance has something of each kind to say.
local function start()
  local page = process.tempdir("page") .. "/status"
  process.write_file(page, "type=application/json&body="
    .. http.escape('{"pool":"www","accepted conn":1}'))
  local r = rig.start({
    control = true, workers = 2, responder = { count = 3, args = { "--page", "/status=" .. page } },
    backend = [[health = { status = "/status", interval = "60ms", timeout = "9s" }, max_conns = 2]],
    servers = function(list)
      return ("%q, %q"):format(list[1], list[2])
    end,
    settings = "compress = { min = 1 }",
    before = [[local page = require("moongate.maintenance").new({ name = "shop" })]],
    on_request = [[
      if req.path == "/fails" then error("it fails") end
      if req.path == "/kept" then
        return page(req) or { backend = "app", docroot = "/srv/app", script = "/x.php",
          tenant = "blue", cache = { ttl = "1h" } }
      end]],
  })
  finally(function() r:stop() end)
  return r
end

describe("the status document", function()
  it("has the keys that the contract names, and no others", function()
    local r, seen = start(), {}
    local a, b, c = unpack(r.back.addresses)
    assert.equal(500, http.get(r.address, "/fails").status)
    for _ = 1, 2 do
      assert.equal(200, http.request(r.address, {
        path = "/kept?type=text/plain&size=3000", headers = { ["Accept-Encoding"] = "gzip" },
      }).status)
    end
    r:tell("server", "weight", "app", a, "3")
    r:tell("server", "add", "app", c)
    r:tell("server", "remove", "app", b)
    r.server:reload(r:route())
    r:tell("rollback", "1")
    poll.wait(function()
      local value = r:status()
      return value.kept_from and value.tenants[1] and value.compression
        and value.cache.hit_rate and value.backends[1].servers[1].pool
    end, "all parts of the status")
    r:tell("log-level", "debug", "--for", "1h")
    note(seen, "", r:status())
    r.server:reload_fails("return {")
    note(seen, "", poll.wait(function()
      local value = r:status()
      for _, one in ipairs(value.errors) do
        if one.what == "HUP" then
          return value
        end
      end
    end, "the failure in the status"))
    assert.same(named(), seen)
  end)
end)
