-- TLS of listeners: handshakes, certificates by name, versions, clients' certificates, what
-- applications and scripts see of it. Clients are curl and openssl's own.

local http = require("tests.support.http")
local net = require("tests.support.net")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local tls = require("tests.support.tls")

local ECHO = [[
  on_request = function(req)
    local t = req.tls or {}
    return { status = 200, body = table.concat({ req.scheme, tostring(t.version), tostring(t.name),
      tostring(t.verified), tostring(t.subject), tostring(t.serial) }, " ") .. "\n" }
  end,
]]

-- A server with TLS on one address.
local function start(setting, more, options)
  options = options or {}
  local address = "127.0.0.1:" .. net.free_port()
  options.own, options.address = true, address
  options.route = ("return { listen = { { address = %q, tls = %s, %s } }, workers = %d, "
    .. "watch = false, control = false, %s %s }"):format(address, setting, options.listener or "",
    options.workers or 1, more or "", options.hooks or ECHO)
  return server.start(options)
end

local function port(s)
  return s.address:match(":(%d+)$")
end

-- A server with TLS before the responder, and its address.
local function before(pair)
  local address = "127.0.0.1:" .. net.free_port()
  return rig.start({
    settings = ("listen = { { address = %q, tls = %s } }, workers = 1, watch = false"):format(
      address, tls.setting(pair)),
    server = { own = true, address = address },
  }), address
end

-- curl for a name, which is this machine's.
local function get(s, name, ca, ...)
  return tls.curl({ "https://" .. name .. "/", "--cacert", ca.cert, "--connect-to",
    ("%s:443:127.0.0.1:%s"):format(name, port(s)), ... })
end

local ca, site, other, wild

setup(function()
  ca = tls.authority()
  site = ca:issue({ "site.test", "www.site.test" })
  other = ca:issue({ "other.test" }, { key = "rsa" })
  wild = ca:issue({ "*.wild.test" })
end)

local function list(...)
  local out = {}
  for i, pair in ipairs({ ... }) do
    out[i] = ("{ cert = %q, key = %q }"):format(pair.cert, pair.key)
  end
  return "{ " .. table.concat(out, ", ") .. " }"
end

describe("a listener with tls", function()
  it("answers by TLS 1.2 and 1.3, and tells scripts which", function()
    local s = start(tls.setting(site))
    finally(function() s:stop() end)
    assert.matches("https://" .. s.address, s:errors(), 1, true)
    assert.equal("https TLSv1.3 site.test false nil nil\n", (get(s, "site.test", ca)))
    assert.equal("https TLSv1.2 www.site.test false nil nil\n",
      (get(s, "www.site.test", ca, "--tls-max", "1.2")))
  end)

  it("keeps a connection for many requests, and sends large bodies both ways whole", function()
    local r, address = before(site)
    finally(function() r:stop() end)
    local body = process.tempdir("body") .. "/body"
    process.write_file(body, rig.pattern(3000000))
    local url = "https://site.test" .. rig.target("check")
    local out = tls.curl({ "--cacert", ca.cert, "--connect-to", "site.test:443:" .. address,
      "--data-binary", "@" .. body, "-w", "%{num_connects} ", url, url })
    assert.equal("length=3000000 same=1 1 length=3000000 same=1 0 ", (out:gsub("\n", " ")))
    out = tls.curl({ "--cacert", ca.cert, "--connect-to", "site.test:443:" .. address,
      "https://site.test" .. rig.target("size=4000000") })
    assert.is_true(out == rig.pattern(4000000))
  end)

  it("gives applications the params of Apache's names, which no client can set", function()
    local r, address = before(site)
    finally(function() r:stop() end)
    local out = tls.curl({ "--cacert", ca.cert, "--connect-to", "site.test:443:" .. address,
      "-H", "SSL_CLIENT_VERIFY: SUCCESS", "-H", "Https: off",
      "https://site.test" .. rig.target("dump") })
    local params = rig.params({ body = out })
    assert.equal("on", params.HTTPS)
    assert.equal("https", params.REQUEST_SCHEME)
    assert.equal("TLSv1.3", params.SSL_PROTOCOL)
    assert.matches("^TLS_AES", params.SSL_CIPHER)
    assert.equal("site.test", params.SSL_TLS_SNI)
    assert.equal("NONE", params.SSL_CLIENT_VERIFY)
    assert.equal(address:match(":(%d+)"), params.SERVER_PORT)
    assert.is_nil(params.SSL_CLIENT_S_DN)
  end)

  it("says 400 and why to a plain HTTP request", function()
    local s = start(tls.setting(site))
    finally(function() s:stop() end)
    local res = http.get(s.address, "/x")
    assert.equal(400, res.status)
    assert.matches("https://", res.body, 1, true)
    assert.equal("close", res.headers.connection)
    assert.matches('"GET /x HTTP/1.1" 400', s:wait_access('400'))
  end)

  it("closes what is neither TLS nor HTTP, and serves on", function()
    local s = start(tls.setting(site))
    finally(function() s:stop() end)
    for _, bytes in ipairs({ "\22\3\1\0\5hello", "\0\0\0\0\0\0\0\0", "\128\46\1\0\2",
      ("\255"):rep(70000), "\22\3\1\255\255" .. ("x"):rep(20000),
      "\23\3\3\0\1x", "\21\3\3\0\2\2\40" }) do
      local conn = net.connect(s.address)
      conn:try_send(bytes)
      local deadline = conn:deadline(20)
      while not conn.ended and conn:fill(deadline) do
        conn.buffer = "" -- an alert
      end
      assert.is_truthy(conn.ended, ("%q"):format(bytes:sub(1, 8)))
      conn:close()
    end
    assert.matches("^https", (get(s, "site.test", ca)))
  end)

  it("chooses the certificate by the name that is asked for", function()
    local s = start(list(site, other, wild))
    finally(function() s:stop() end)
    assert.matches("other.test", (get(s, "other.test", ca)), 1, true)
    assert.matches("a.wild.test", (get(s, "a.wild.test", ca)), 1, true)
    assert.matches("www.site.test", (get(s, "WWW.site.test", ca)), 1, true)
    local _, status = get(s, "b.a.wild.test", ca) -- a wildcard is one label: the default's names
    assert.equal(60, status)
    local said = tls.client(s.address, { "-noservername" })
    assert.matches("subject=CN = site.test", said:gsub("CN=", "CN = "), 1, true)
  end)

  it("takes of two certificates for one name the one that the client can use", function()
    local rsa = ca:issue({ "site.test" }, { key = "rsa" })
    local s = start(list(site, rsa))
    finally(function() s:stop() end)
    local args = { "-tls1_2", "-servername", "site.test", "-cipher" }
    args[5] = "ECDHE-RSA-AES128-GCM-SHA256"
    assert.matches("Cipher is ECDHE-RSA", (tls.client(s.address, args)), 1, true)
    args[5] = "ECDHE-ECDSA-AES128-GCM-SHA256"
    assert.matches("Cipher is ECDHE-ECDSA", (tls.client(s.address, args)), 1, true)
  end)

  it("refuses old versions, weak ciphers, compression and renegotiation", function()
    local s = start(tls.setting(other))
    finally(function() s:stop() end)
    for _, args in ipairs({ { "-tls1" }, { "-tls1_1" },
      { "-tls1_2", "-cipher", "AES128-SHA:@SECLEVEL=0" },
      { "-tls1_2", "-cipher", "NULL:@SECLEVEL=0" },
      { "-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256" } }) do
      local said = tls.client(s.address, args)
      assert.is_nil(said:find("HTTP/1.1 200", 1, true), table.concat(args, " "))
      assert.matches("Cipher is %(NONE%)", said)
    end
    local said = tls.client(s.address, { "-tls1_2", "-comp" })
    assert.matches("Compression: NONE", said, 1, true)
    assert.matches("HTTP/1.1 200", said, 1, true)
    -- R at the beginning of a line renegotiates
    local result = process.run({ argv = { "openssl", "s_client", "-connect", s.address, "-tls1_2" },
      input = "R\n" }, 30)
    assert.matches("no renegotiation", result.stdout .. result.stderr)
  end)

  it("has the versions and the ciphers that the route says", function()
    local s = start(tls.setting(other,
      [[versions = "1.2", ciphers = "ECDHE-RSA-AES256-GCM-SHA384"]]))
    finally(function() s:stop() end)
    assert.matches("ECDHE%-RSA%-AES256%-GCM%-SHA384", (tls.client(s.address)))
    assert.matches("Cipher is %(NONE%)", (tls.client(s.address, { "-tls1_3" })))
    assert.matches("Cipher is %(NONE%)",
      (tls.client(s.address, { "-cipher", "ECDHE-RSA-AES128-GCM-SHA256" })))
  end)

  it("agrees on HTTP/1.1 by ALPN, and refuses other protocols", function()
    local s = start(tls.setting(site))
    finally(function() s:stop() end)
    assert.matches("ALPN protocol: http/1.1",
      (tls.client(s.address, { "-alpn", "foo,http/1.1" })), 1, true)
    assert.matches("no application protocol", (tls.client(s.address, { "-alpn", "smtp" })))
  end)

  it("reads a PROXY header before the handshake, in one piece with it or not", function()
    local s = start(tls.setting(site), "trusted_proxies = { '127.0.0.1' },", {
      listener = "proxy_protocol = true",
      hooks = "on_request = function(req) return { status = 200, body = req.ip .. req.scheme } end",
    })
    finally(function() s:stop() end)
    local out = get(s, "site.test", ca, "--haproxy-protocol")
    assert.equal("127.0.0.1https", out)
  end)
end)

describe("clients' certificates", function()
  local alice, stranger

  setup(function()
    alice = ca:issue({ "alice" }, { subject = "/O=Example/CN=alice" })
    stranger = tls.authority("Another CA"):issue({ "mallory" })
  end)

  local function as(pair)
    return "--cert", pair.cert, "--key", pair.key
  end

  it("are required, and shown to scripts", function()
    local s = start(tls.setting(site, ("client_ca = %q, verify = 'required'"):format(ca.cert)))
    finally(function() s:stop() end)
    local out = get(s, "site.test", ca, as(alice))
    assert.matches("true CN=alice,O=Example [%x]+\n", out)
    local _, without = get(s, "site.test", ca)
    assert.is_true(without ~= 0)
    local _, wrong = get(s, "site.test", ca, as(stranger))
    assert.is_true(wrong ~= 0)
  end)

  it("are optional, but never of another authority", function()
    local s = start(tls.setting(site, ("client_ca = %q, verify = 'optional'"):format(ca.cert)))
    finally(function() s:stop() end)
    assert.matches("true CN=alice", (get(s, "site.test", ca, as(alice))))
    assert.matches("false nil", (get(s, "site.test", ca)))
    local _, wrong = get(s, "site.test", ca, as(stranger))
    assert.is_true(wrong ~= 0)
  end)
end)

describe("a reload", function()
  local function route(s, pair)
    return ("return { listen = { { address = %q, tls = %s } }, workers = 1, watch = false, "
      .. "control = false, %s }"):format(s.address, tls.setting(pair), ECHO)
  end

  it("changes the certificate without a lost connection", function()
    local s = start(tls.setting(site))
    finally(function() s:stop() end)
    s:reload(route(s, other))
    assert.matches("other.test", (get(s, "other.test", ca)), 1, true)
    local _, status = get(s, "site.test", ca)
    assert.equal(60, status)
  end)

  it("with a broken certificate changes nothing", function()
    local s = start(tls.setting(site))
    finally(function() s:stop() end)
    local broken = { cert = site.cert, key = other.key }
    s:reload_fails(route(s, broken))
    assert.matches("does not fit the certificate", s:errors(), 1, true)
    assert.matches("^https", (get(s, "site.test", ca)))
  end)
end)

describe("moongate check", function()
  local function check(setting)
    local dir = process.tempdir("check")
    process.write_file(dir .. "/route.lua", ("return { listen = { { address = '127.0.0.1:8443', "
      .. "tls = %s } }, %s }"):format(setting, ECHO))
    return server.command({ "check", dir .. "/route.lua", "--user",
      process.is_root() and "root" or "nobody" })
  end

  local function refuses(setting, words)
    local result = check(setting)
    assert.equal(1, result.code, setting)
    assert.matches(words, result.stderr, 1, true)
  end

  it("says what is wrong with certificates and keys", function()
    local dir = process.tempdir("bad")
    process.write_file(dir .. "/text.pem", "no PEM\n")
    local old = ca:issue({ "old.test" }, { expired = true })
    refuses(tls.setting({ cert = site.cert, key = other.key }), "the key does not fit")
    refuses(tls.setting({ cert = site.cert, key = dir .. "/none.pem" }), "No such file")
    refuses(tls.setting({ cert = site.cert, key = dir .. "/text.pem" }), "no private key in PEM")
    refuses(tls.setting({ cert = dir .. "/text.pem", key = site.key }), "no certificate")
    refuses(tls.setting(old), "has expired")
    refuses(tls.setting(ca:issue({ "small.test" }, { key = "small" })), "too small")
    refuses(tls.setting(ca:issue({ "aia.test" }, {
      extensions = "authorityInfoAccess = caIssuers;URI:http://ca.test/ca.der\n",
    })), "the chain is incomplete")
    refuses(tls.setting(site, [[ciphers = "NONSENSE"]]), "ciphers: NONSENSE")
    refuses(tls.setting(site, [[versions = "1.1"]]), "RFC 8996")
    refuses(tls.setting(site, [[verify = "required"]]), "client_ca")
    local good = check(tls.setting(site))
    assert.equal(0, good.code, good.stderr)
    assert.matches("warning: .*the chain is incomplete", good.stderr)
  end)
end)

describe("slow handshakes", function()
  it("end with header_timeout, and hold up nobody", function()
    local s = start(tls.setting(site), "limits = { header_timeout = 2 },")
    finally(function() s:stop() end)
    local silent, half = net.connect(s.address), net.connect(s.address)
    half:send("\22\3\1\2\0\1\0\1\252\3\3")
    assert.matches("^https", (get(s, "site.test", ca)))
    assert.is_true(silent:closes(20))
    assert.is_true(half:closes(20))
    silent:close()
    half:close()
  end)
end)
