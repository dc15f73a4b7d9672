-- Kept responses of which there are several for one URL, by Vary or by who asks: who gets which,
-- and how long.

local gateway = require("tests.support.gateway")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local tls = require("tests.support.tls")

local function start(cache, listen)
  local path = process.tempdir("variants")
  process.chmod(path, "1777")
  local address = "127.0.0.1:" .. net.free_port()
  local settings = ("cache = { path = %q }, listen = { %q, %s }, workers = 2, watch = false")
    :format(path, address, listen or "")
  local r = rig.start({ settings = settings, server = { own = true, address = address },
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

describe("a client's own page", function()
  it("is for those with the same certificate alone", function()
    local ca = tls.authority()
    local alice = ca:issue({ "alice" }, { subject = "/CN=alice" })
    local bob = ca:issue({ "bob" }, { subject = "/CN=bob" })
    local address = "127.0.0.1:" .. net.free_port()
    start("{ ttl = '1h' }", ("{ address = %q, tls = %s }"):format(address,
      tls.setting(ca:issue({ "site.test" }),
        ("client_ca = %q, verify = 'optional'"):format(ca.cert))))
    local function get(pair)
      local out = tls.curl({ "-i", "https://site.test" .. rig.target("dump"), "--cacert", ca.cert,
        "--connect-to", "site.test:443:" .. address, unpack(pair and { "--cert", pair.cert, "--key",
        pair.key } or {}) })
      return out:match("[Xx]%-[Cc]ache: (%w+)"), out:match("SSL_CLIENT_S_DN=(%S+)")
    end
    for _, word in ipairs({ "miss", "hit" }) do
      assert.same({ word, "CN=alice" }, { get(alice) })
      assert.same({ word }, { get(nil) })
      assert.same({ word, "CN=bob" }, { get(bob) })
    end
  end)

  it("is not kept where a web server has the user, and apart where it has the certificate",
    function()
      local web = "127.0.0.1:" .. net.free_port()
      start("{ ttl = '1h' }", ("{ address = %q, protocol = 'fastcgi' }"):format(web))
      local function get(name, value)
        local conn = gateway.open(web)
        local res = conn:request({ params = { REQUEST_URI = rig.target("dump"), [name] = value } })
        conn:close()
        return res.headers["x-cache"], rig.params(res)[name]
      end
      assert.equal("bypass", (get("REMOTE_USER", "alice")))
      assert.same({ "miss" }, { get("REMOTE_USER", nil) })
      assert.same({ "bypass", "bob" }, { get("REMOTE_USER", "bob") })
      assert.same({ "hit" }, { get("REMOTE_USER", nil) })
      for _, word in ipairs({ "miss", "hit" }) do
        assert.same({ word, "CN=alice" }, { get("SSL_CLIENT_S_DN", "CN=alice") })
        assert.same({ word, "CN=bob" }, { get("SSL_CLIENT_S_DN", "CN=bob") })
      end
    end)

  it("is not kept where an authorizer has the user", function()
    local path = process.tempdir("variants")
    process.chmod(path, "1777")
    local r = rig.start({ settings = ("cache = { path = %q }"):format(path),
      responder = { count = 2 },
      servers = function(addresses) return ("%q"):format(addresses[1]) end,
      backends = function(addresses) return ("auth = %q,"):format(addresses[2]) end,
      on_request = [[
        do return { backend = "app", docroot = "/srv/app", cache = { ttl = "1h" },
          authorize = { backend = "auth", docroot = "/srv/auth", script = "/auth.php",
            params = { QUERY_STRING = "status=200&header=Variable-REMOTE_USER:%20"
              .. req.headers["X-Api-Key"] } } } end]] })
    finally(function() r:stop() end)
    for _, user in ipairs({ "alice", "bob" }) do
      local res = r:get("dump", { headers = { ["X-Api-Key"] = user } })
      assert.same({ "bypass", user }, { res.headers["x-cache"], rig.params(res).REMOTE_USER })
    end
  end)
end)
