-- The doors to libraries: moongate.hash, random, json and net.cidr, in workers and in commands. The
-- digests are those of the standards that define them.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

-- What a route can ask for, in one text: the same from a worker, in a spec and in explain.
local ROUTE = [==[
local cidr = require("moongate.net.cidr")
local hash = require("moongate.hash")
local json = require("moongate.json")
local moongate = require("moongate")
local random = require("moongate.random")

-- RFC 1321 A.5, RFC 6234 §8.5 and FIPS 180, RFC 2202 §3, RFC 4231 §4.2 and 4.3, and of CRC-32 the
-- check value of its catalogue.
assert(hash.md5("abc") == "900150983cd24fb0d6963f7d28e17f72")
assert(hash.sha1("abc") == "a9993e364706816aba3e25717850c26c9cd0d89d")
assert(hash.sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
assert(hash.sha384("abc") == "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
  .. "8086072ba1e7cc2358baeca134c825a7")
assert(hash.sha512("abc") == "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
  .. "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f")
assert(hash.md5("") == "d41d8cd98f00b204e9800998ecf8427e")
assert(hash.hmac("md5", "Jefe", "what do ya want for nothing?")
  == "750c783e6ab0b503eaa86e310a5db738")
assert(hash.hmac("sha1", "Jefe", "what do ya want for nothing?")
  == "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79")
assert(hash.hmac("sha256", ("\11"):rep(20), "Hi There")
  == "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")
assert(hash.hmac("sha512", "Jefe", "what do ya want for nothing?", "base64url")
  == "Fkt6e_z4GeLjlfvnO1bgo4e9ZCIugx_WECcM1-olBVSXWL91wFqZSm0DT2X48Ob9yuqxo0"
  .. "1Ka0tjbgcKOLznNw")
assert(hash.crc32("123456789") == 0xcbf43926 and hash.crc32("") == 0)

-- RFC 4648 §10, and all lengths.
for text, coded in pairs({ [""] = "", f = "Zg==", fo = "Zm8=", foo = "Zm9v", foob = "Zm9vYg==",
  fooba = "Zm9vYmE=", foobar = "Zm9vYmFy" }) do
  assert(hash.base64(text) == coded and hash.unbase64(coded) == text)
end
for n = 0, 70 do
  local bytes = ("\0\255\128\251abc"):rep(10):sub(1, n)
  assert(hash.unbase64(hash.base64(bytes)) == bytes)
  assert(hash.unbase64((hash.base64(bytes):gsub("=", ""))) == bytes)
  assert(hash.unbase64url(hash.base64url(bytes)) == bytes)
end
for _, text in ipairs({ "a", "Zg=", "Zg===", "=", "====", "Zm9v=", "Z=9v", "Zm 9v", " Zm9v",
  "Zm9v\n", "Zm9-", "\0\0\0\0" }) do
  assert(hash.unbase64(text) == nil, text)
end
assert(hash.equal("secret", "secret") and hash.equal("", ""))
assert(not hash.equal("secret", "secreT") and not hash.equal("secret", "secret "))

local seen = {}
for _ = 1, 1000 do
  local token, number = random.token(), random.integer(1, 6)
  assert(#token == 22 and not token:find("[^%w_-]") and not seen[token])
  assert(number >= 1 and number <= 6)
  seen[token], seen[number] = true, true
end
assert(seen[1] and seen[2] and seen[3] and seen[4] and seen[5] and seen[6])
assert(#random.bytes(100000) == 100000 and #random.hex(3) == 6)

local office = cidr.set({ "127.0.0.0/8", "2001:db8::/32" })
local first = math.random()

return {
  control = false,
  script_timeout = "60s", -- /long takes its time on a busy machine
  backends = { app = "127.0.0.1:9" },
  on_request = function(req)
    if req.path == "/random" then
      return { body = ("%d %.17g"):format(moongate.worker, first) }
    elseif req.path == "/wrong" then
      return { body = hash.sha256(req.args.nothing) }
    elseif req.path == "/long" then -- what does not fit into memory many times over is no text
      local ok, problem = pcall(hash.base64, ("x"):rep(64 * 1048576 + 1))
      return { body = tostring(ok) .. " " .. problem:match("hash.base64: .*") }
    end
    local value = assert(json.decode('{"a": [1, null], "b": "\\u00e4"}'))
    return { backend = "app", docroot = "/srv", params = {
      DIGEST = hash.sha256(req.path), SIGNED = hash.hmac("sha256", "key", req.path, "base64"),
      NULL = tostring(value.a[2] == json.null), AGAIN = json.encode(value.b),
      OFFICE = tostring(office:has(req.ip)),
    } }
  end,
}
]==]

local SPEC = [==[
local route = require("moongate.testing").load("route.lua")
it("knows digests", function()
  local out = route:request { url = "http://a/x.php", ip = "10.0.0.1" }
  assert.equal("c3362f7394c7f45a0179ee4d84ec2fdc98cd25e8ce0dcc0aa10226aee121b75d",
    out.params.DIGEST)
  assert.equal("true", out.params.NULL)
  assert.equal("false", out.params.OFFICE)
end)
]==]

describe("hash, random, json and net.cidr", function()
  it("work in commands", function()
    local dir = process.tempdir("doors")
    stage.write(dir, { ["route.lua"] = ROUTE, ["spec/route_spec.lua"] = SPEC })
    local result = server.command({ "check", dir .. "/route.lua" })
    assert.equal("ok\n", result.stdout, result.stderr)
    result = server.command({ "test", dir .. "/route.lua" })
    assert.equal("1 passed, 0 failed\n", result.stdout, result.stderr)
    result = server.command({ "explain", dir .. "/route.lua", "http://a/x.php", "--json" })
    -- printf /x.php | sha256sum; the same by openssl dgst -hmac key
    local params = json.decode(result.stdout).params
    assert.equal("c3362f7394c7f45a0179ee4d84ec2fdc98cd25e8ce0dcc0aa10226aee121b75d", params.DIGEST)
    assert.equal("muSBReFDL8OyqOi7+fIgApfFN0PhA95qnJwdao8GVDY=", params.SIGNED)
  end)

  it("work in workers, each of which has chances of its own", function()
    local gate = server.start({ route = ROUTE, workers = 2 })
    finally(function() gate:stop() end)
    local first, count = {}, 0
    repeat
      local worker, number = http.get(gate.address, "/random").body:match("^(%d) (%S+)$")
      assert.truthy(worker)
      count = count + (first[worker] and 0 or 1)
      assert.equal(first[worker] or number, number)
      first[worker] = number
    until count == 2
    assert.not_equal(first["1"], first["2"])
    assert.equal("false hash.base64: expected a text of at most 64 MB, got 67108865 bytes",
      http.get(gate.address, "/long").body)
    assert.equal(500, http.get(gate.address, "/wrong").status)
    gate:wait_log("route.lua:%d+: hash.sha256: expected a text, got nothing")
  end)
end)
