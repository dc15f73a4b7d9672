-- Kept responses of which there are several for one URL, by Vary: who gets which, and how long.

local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")

local function start(cache)
  local path = process.tempdir("variants")
  process.chmod(path, "1777")
  local r = rig.start({ settings = ("cache = { path = %q }"):format(path), workers = 2,
    on_request = ([[
      do return { backend = "app", docroot = "/srv/app", cache = %s } end]]):format(cache) })
  finally(function() r:stop() end)
  return r
end

describe("a response with variants", function()
  -- Applications look for the word alone: PHP's zlib.output_compression takes "gzip;q=0" for a yes.
  it("has no coding for those who do not accept it", function()
    local r = start("{ ttl = '1h' }")
    for _, codings in ipairs({ "gzip;q=0", "GZIP;Q=0.0", "x-gzip", "*", "pack200-gzip, identity",
      "zip" }) do
      local commands = "dump&header=Vary:%20Accept-Encoding&x=" .. codings:gsub("%W", "")
      r:get(commands, { headers = { ["Accept-Encoding"] = codings } })
      local res = r:get(commands, { headers = { ["Accept-Encoding"] = "identity" } })
      assert.same({ "hit", "identity" },
        { res.headers["x-cache"], rig.params(res).HTTP_ACCEPT_ENCODING }, codings)
    end
    local res = r:get("dump", { headers = { ["Accept-Encoding"] = "evil, GZIP;q=0.5, br" } })
    assert.equal("br, gzip", rig.params(res).HTTP_ACCEPT_ENCODING)
    assert.is_nil(rig.params(r:get("dump&y")).HTTP_ACCEPT_ENCODING)
  end)

  it("keeps each for its own time", function()
    local r = start("{ key = 'one' }")
    local function get(language, age, method)
      return r:get(("body=%s&header=Vary:%%20Accept-Language&header=Cache-Control:%%20max-age=%d")
        :format(language, age), { method = method, headers = { ["Accept-Language"] = language } })
        .headers["x-cache"]
    end
    assert.equal("miss", get("de", 10000))
    assert.equal("miss", get("en", 1))
    poll.wait(function() -- nothing is kept of a HEAD's
      return get("en", 1, "HEAD") == "miss"
    end, "the end of one")
    assert.equal("hit", get("de", 10000))
  end)
end)
