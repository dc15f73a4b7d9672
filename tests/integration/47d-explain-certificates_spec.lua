-- What `moongate explain` and specs say of the certificate for a name is what a server presents.

local json = require("moongate.base.json")
local net = require("tests.support.net")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")
local tls = require("tests.support.tls")

local ROUTE = [[
local moongate, dir = require("moongate"), %q
local function text(name)
  local file = assert(io.open(dir .. "/" .. name))
  local all = file:read("*a")
  file:close()
  return all
end
local answers = {
  text = function() return { cert = text("text.pem"), key = text("text.key"), ttl = "5m" } end,
  path = function() return { cert = dir .. "/path.pem", key = dir .. "/path.key" } end,
  old = function() return { cert = dir .. "/old.pem", key = dir .. "/old.key" } end,
  other = function() return { cert = dir .. "/path.pem", key = dir .. "/path.key" } end,
  wrong = function() return { cert = text("path.pem"), key = dir .. "/text.key" } end,
  gone = function() return { cert = dir .. "/gone.pem", key = dir .. "/gone.key" } end,
  error = function() error("the database is down") end,
  odd = function() return { cert = 5 } end,
  waits = function() moongate.sleep(0.01) end,
}
return {
  listen = { %q, { address = %q, name = "secure", tls = %s } },
  workers = 1, watch = false, control = false,
  on_certificate = function(name)
    local answer = answers[name:match("^(.*)%%.hook%%.test$")]
    return answer and answer()
  end,
  on_request = function() return { status = 204 } end,
}
]]

local ca, dir, own

setup(function()
  ca, dir = tls.authority(), process.tempdir("pairs")
  process.chmod(dir, "755")
  for name, options in pairs({ text = {}, path = {}, old = { expired = true } }) do
    options.to = { cert = ("%s/%s.pem"):format(dir, name), key = ("%s/%s.key"):format(dir, name) }
    ca:issue({ name .. ".hook.test" }, options)
  end
  os.execute(("chmod a+r '%s'/*"):format(dir))
  own = ca:issue({ "own.test", "*.own.test" })
end)

local function route(plain, secure, setting)
  return ROUTE:format(dir, plain, secure, setting or tls.setting(own))
end

local function folder(setting)
  local path = process.tempdir("route")
  process.chmod(path, "755")
  stage.write(path, { ["route.lua"] = route("127.0.0.1:8080", "127.0.0.1:8443", setting) })
  return path
end

-- What `explain` says of the certificate for a URL.
local function explain(path, url, ...)
  local result = server.command({ "explain", path .. "/route.lua", url, "--json", ... })
  assert.truthy(result.stdout ~= "", result.stderr)
  return json.decode(result.stdout).certificate, result
end

describe("moongate explain", function()
  it("names the certificate that the server answers with", function()
    local plain, secure = "127.0.0.1:" .. net.free_port(), "127.0.0.1:" .. net.free_port()
    local s = server.start({ own = true, address = plain, route = route(plain, secure) })
    finally(function() s:stop() end)
    local function serial_of(text)
      return process.run({ argv = { "openssl", "x509", "-noout", "-serial" }, input = text }).stdout
    end
    for name, expected in pairs({
      ["own.test"] = { "listener", own.cert }, ["a.OWN.test"] = { "listener", own.cert },
      ["text.hook.test"] = { "on_certificate", dir .. "/text.pem", "PEM given by the script" },
      ["path.hook.test"] = { "on_certificate", dir .. "/path.pem" },
      ["old.hook.test"] = { "on_certificate", dir .. "/old.pem" },
      ["other.hook.test"] = { "on_certificate", dir .. "/path.pem" },
      ["wrong.hook.test"] = { "default", own.cert }, ["gone.hook.test"] = { "default", own.cert },
      ["error.hook.test"] = { "default", own.cert }, ["odd.hook.test"] = { "default", own.cert },
      ["none.test"] = { "default", own.cert },
    }) do
      local served = tls.client(secure, { "-servername", name })
      assert.equal(serial_of(process.read_file(expected[2])), serial_of(served), name)
      local said = explain(s.dir, "https://" .. name .. "/")
      assert.equal(expected[1], said.from, name)
      assert.equal(expected[3] or expected[2], said.cert, name)
      assert.equal("secure", said.listener)
      assert.equal(name:lower(), said.name)
    end
  end)

  it("says why clients get none that they take, and what to do", function()
    local path = folder()
    for name, words in pairs({
      old = { "has expired on", "certificate that clients take" },
      other = { "does not have this name", "certificate that clients take" },
      wrong = { "the key does not fit the certificate cert", "the same renewal" },
      gone = { dir .. "/gone.pem can't be used: No such file", "mend what the hook returns" },
      error = { "route.lua:15: the database is down", "mend on_certificate" },
      odd = { "cert: expected PEM or an absolute path, got 5", "mend on_certificate" },
      none = { "on_certificate has no certificate for the name", "`cert` and `key` or `folder`" },
    }) do
      local said, result = explain(path, ("https://%s.hook.test/"):format(name))
      assert.equal(1, result.code, name)
      assert.matches("moongate: the certificate: ", result.stderr, 1, true)
      assert.truthy(said.problem:find(words[1], 1, true), said.problem)
      assert.truthy(said.advice:find(words[2], 1, true), said.advice)
    end
    local _, result = explain(path, "https://path.hook.test/")
    assert.equal(0, result.code, result.stderr)
    local said
    said, result = explain(path, "https://waits.hook.test/")
    assert.equal(0, result.code, result.stderr)
    assert.matches("the hook waits", said.note, 1, true)
    assert.matches("openssl s_client -connect 127.0.0.1:8443 -servername waits.hook.test",
      said.advice, 1, true)
  end)

  it("knows listeners without a certificate, clients without a name, and no TLS", function()
    local path = folder("{}")
    local said = explain(path, "https://none.hook.test/")
    assert.equal("none", said.from)
    assert.matches("alert unrecognized_name", said.problem, 1, true)
    said = explain(path, "https://127.0.0.1/")
    assert.equal("none", said.from)
    assert.is_nil(said.name)
    assert.matches("alert missing_extension", said.problem, 1, true)
    said = explain(folder(), "https://[::1]:8443/")
    assert.equal("default", said.from)
    assert.is_nil(said.problem)
    said = explain(path, "/", "--https", "-H", "Host: path.hook.test:8443")
    assert.equal("path.hook.test", said.name)
    assert.is_nil((explain(path, "http://path.hook.test/")))
    assert.is_nil((explain(path, "https://path.hook.test/", "--listener", "127.0.0.1:8080")))
  end)

  it("says which pair of a folder is left out, and what keeps a listener from serving", function()
    local live = process.tempdir("live")
    stage.write(live, {
      ["good.test/fullchain.pem"] = process.read_file(own.cert),
      ["good.test/privkey.pem"] = process.read_file(own.key),
      ["bad.test/fullchain.pem"] = process.read_file(own.cert),
      ["bad.test/privkey.pem"] = process.read_file(dir .. "/path.key"),
    })
    local said = explain(folder(("{ folder = %q }"):format(live)), "https://own.test/", "--user",
      process.is_root() and "root" or "nobody")
    assert.equal("listener", said.from)
    assert.equal(live .. "/good.test/fullchain.pem", said.cert)
    assert.equal(1, #said.left_out)
    assert.matches("bad.test/privkey.pem: the key does not fit", said.left_out[1], 1, true)
    local result
    said, result = explain(folder(("{ cert = %q, key = '/none.key' }"):format(own.cert)),
      "https://own.test/", "--user", process.is_root() and "root" or "nobody")
    assert.equal(1, result.code)
    assert.equal("none", said.from)
    assert.matches("the listener can't serve: tls: /none.key can't be used: No such file",
      said.problem, 1, true)
  end)

  it("shows it as text before the steps", function()
    local path = folder()
    local result = server.command({ "explain", path .. "/route.lua", "https://text.hook.test/" })
    assert.matches("^certificate\n  name      text.hook.test\n  listener  secure\n  from      "
      .. "on_certificate %(" .. path:gsub("%p", "%%%0") .. "/route.lua:22%)\n  cert      PEM given "
      .. "by the script\n  key       PEM given by the script\n  names     text.hook.test\n"
      .. "  expires   %d+%-[^\n]* UTC\n  ttl       300 s\n", result.stdout)
    assert.matches("\nsteps\n", result.stdout, 1, true)
    assert.is_nil(result.stdout:find("PRIVATE KEY", 1, true))
  end)
end)

describe("route:certificate", function()
  it("is for specs what a server makes of the hook's answer", function()
    local path = folder()
    stage.write(path, { ["spec/route_spec.lua"] = ([[
      local route = require("moongate.testing").load()
      it("gives", function()
        local out = route:certificate("Path.Hook.Test.")
        assert.same({ %q, %q, 3600 }, { out.cert, out.key, out.ttl })
        assert.same({ "path.hook.test" }, out.names)
        assert.matches("^%%d+%%-%%d+%%-%%d+ .* UTC$", out.expires)
        assert.is_nil(out.error)
        assert.matches("^%%-%%-%%-%%-%%-BEGIN", route:certificate("text.hook.test").cert)
      end)
      it("has none", function()
        assert.same({}, route:certificate("none.hook.test"))
      end)
      it("says what is wrong", function()
        assert.matches("has expired", route:certificate("old.hook.test").problem)
        assert.matches("not have this name", route:certificate("other.hook.test").problem)
        assert.matches("key does not fit", route:certificate("wrong.hook.test").error)
        assert.is_nil(route:certificate("wrong.hook.test").names)
        assert.matches("route.lua:15: the database is down",
          route:certificate("error.hook.test").error)
        for _, name in ipairs({ "a b", "../x", "", "a..b" }) do
          assert.has_error(function() route:certificate(name) end)
        end
      end)
    ]]):format(dir .. "/path.pem", dir .. "/path.key") })
    local result = server.command({ "test", path .. "/route.lua" })
    assert.equal("3 passed, 0 failed\n", result.stdout, result.stderr)
  end)
end)

describe("examples/certificates", function()
  it("passes its own specs, and serves a tenant that is new", function()
    local copy = stage.copy("examples/certificates")
    local result = server.command({ "test", copy .. "/route.lua" })
    assert.equal("3 passed, 0 failed\n", result.stdout, result.stderr)
    local tenants, address = process.tempdir("tenants"), "127.0.0.1:" .. net.free_port()
    process.chmod(tenants, "755")
    local text = process.read_file(copy .. "/route.lua"):gsub("127%.0%.0%.1:8443", address)
    local s = server.start({ own = true, address = address, route = text,
      files = { ["store.lua"] = process.read_file(copy .. "/store.lua") },
      env = { CERTIFICATES = tenants } })
    finally(function() s:stop() end)
    assert.matches("alert number 112", tls.client(address, { "-servername", "old.test" }), 1, true)
    stage.write(tenants, { ["path.hook.test/cert.pem"] = process.read_file(dir .. "/path.pem"),
      ["path.hook.test/key.pem"] = process.read_file(dir .. "/path.key") })
    os.execute(("chmod -R a+rX '%s'"):format(tenants))
    local body, _, problem = tls.curl({ "https://path.hook.test/", "--cacert", ca.cert,
      "--connect-to", "path.hook.test:443:" .. address })
    assert.equal("This is path.hook.test.\n", body, problem)
  end)
end)
