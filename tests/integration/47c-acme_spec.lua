-- Certificates by ACME (RFC 8555): certbot and lego get them from an authority that fetches their
-- challenges from Moongate, which serves them by one line of its route and notices what comes.

local acme = require("tests.support.acme")
local http = require("tests.support.http")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local tls = require("tests.support.tls")

-- As docs/tls.md has it, and a pair for the time before the first certificate.
local ROUTE = [[
local tls = require("moongate.tls")

local function site(req)
  return { status = 200, body = req.tls.name .. " over " .. req.tls.version .. "\n" }
end

return {
  listen = { %q, { address = %q, tls = { cert = %q, key = %q, folder = %q } } },
  workers = 2, watch = false, control = false,
  on_request = tls.redirect(site, { acme = %q }),
}
]]

local function rooms()
  local dir = process.tempdir("webroot")
  process.chmod(dir, "755") -- the workers' user reads the challenges
  return dir
end

describe("a certificate", function()
  local authority, gate, secure, webroot, root

  setup(function()
    local plain = "127.0.0.1:" .. net.free_port()
    secure = "127.0.0.1:" .. net.free_port()
    authority = acme.start({ ["shop.test"] = { "127.0.0.1" }, ["blog.test"] = { "127.0.0.1" } },
      tonumber(plain:match("%d+$")))
    root, webroot = authority:root(), rooms()
    assert(process.run({ argv = { "mkdir", authority.dir .. "/live" } }).code == 0)
    local first = tls.authority():issue({ "first.test" })
    gate = server.start({ own = true, address = plain, route = ROUTE:format(plain, secure,
      first.cert, first.key, authority.dir .. "/live", webroot) })
  end)

  teardown(function()
    gate:stop()
    authority:stop()
  end)

  local function get(name)
    return tls.curl({ "https://" .. name .. "/", "--cacert", root, "--connect-to",
      ("%s:443:%s"):format(name, secure) })
  end

  local function serial(said)
    return process.run({ argv = { "openssl", "x509", "-noout", "-serial" }, input = said }).stdout
  end

  -- Waits until the listener has the certificate that lies there.
  local function wait_served(name)
    local wanted = serial(process.read_file(authority.dir .. "/live/" .. name .. "/fullchain.pem"))
    poll.wait(function()
      return serial(tls.client(secure, { "-servername", name })) == wanted
    end, "the certificate of " .. name)
    assert.equal(name .. " over TLSv1.3\n", (get(name)))
    return wanted
  end

  local function count_challenges()
    local line = 'GET /%.well%-known/acme%-challenge/[%w_-]+ HTTP/1%.1" 200'
    return select(2, gate:access():gsub(line, ""))
  end

  it("comes by certbot, is served without a reload, and so is the renewed one", function()
    assert.is_not.equal("shop.test over TLSv1.3\n", (get("shop.test")))
    authority:certbot({ "certonly", "--webroot", "-w", webroot, "-d", "shop.test", "--agree-tos",
      "--register-unsafely-without-email" })
    local first = wait_served("shop.test")
    poll.wait(function() return count_challenges() > 0 end, "the challenge in the access log")
    authority:certbot({ "renew", "--force-renewal", "--no-random-sleep-on-renew" })
    assert.not_equal(first, wait_served("shop.test"))
    assert.is_nil(gate:errors():find("generation 2", 1, true))
  end)

  it("comes by lego, whose files two links lead to", function()
    local live = authority.dir .. "/live/blog.test"
    authority:lego({ "--email", "admin@blog.test", "--accept-tos", "--domains", "blog.test",
      "--http", "--http.webroot", webroot, "run" })
    assert(process.run({ argv = { "mkdir", live } }).code == 0)
    local files = "../../lego/certificates/blog.test"
    for from, to in pairs({ [".crt"] = "fullchain.pem", [".key"] = "privkey.pem" }) do
      assert(process.run({ argv = { "ln", "-s", files .. from, live .. "/" .. to } }).code == 0)
    end
    wait_served("blog.test")
    assert.is_nil(gate:errors():find("generation 2", 1, true))
  end)

  it("needs nothing but the challenge over http", function()
    assert.equal(404, http.get(gate.address, "/.well-known/acme-challenge/nothing").status)
    local answer = http.request(gate.address, { path = "/x?y", host = "shop.test" })
    assert.equal(301, answer.status)
    assert.equal("https://shop.test/x?y", answer.headers.location)
  end)
end)
