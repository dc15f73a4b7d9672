-- `--listen https://ADDR` and `serve --tls`: a certificate for localhost that is made once, kept,
-- and made anew when it has expired.

local http = require("tests.support.http")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")
local tls = require("tests.support.tls")

local FILES = { ["a.txt"] = "hello\n" }

-- A server of a folder with a file, by http and https. No FastCGI server is needed for that.
local function start(state)
  local secure = "127.0.0.1:" .. net.free_port()
  local gate = server.start({
    serve = ".", files = FILES, env = { XDG_STATE_HOME = state },
    args = { "--backend", "127.0.0.1:1", "--listen", "https://" .. secure },
  })
  gate:wait_log("curl %-%-cacert ") -- the last of what is said behind `serving`
  return gate, secure:match(":(%d+)$")
end

local function paths(state)
  return { cert = state .. "/moongate/localhost.crt", key = state .. "/moongate/localhost.key" }
end

local function mode(path)
  return process.run({ argv = { "stat", "-c", "%a", path } }).stdout
end

local function get(host, port, ca, ...)
  local body, code, problem = tls.curl({ ("https://%s:%s/a.txt"):format(host, port), "--cacert", ca,
    "-w", "%{http_version}", ... })
  assert.equal(0, code, problem)
  return body
end

describe("a certificate for localhost", function()
  it("is made, and serves https beside http, by HTTP/1.1 and HTTP/2", function()
    local state = process.tempdir("state")
    local gate, port = start(state)
    finally(function() gate:stop() end)
    local pair = paths(state)
    for _, host in ipairs({ "localhost", "127.0.0.1" }) do
      assert.equal("hello\n1.1", get(host, port, pair.cert, "--http1.1"))
      assert.equal("hello\n2", get(host, port, pair.cert, "--http2"))
    end
    assert.equal("hello\n", http.get(gate.address, "/a.txt").body)
    assert.equal("600\n", mode(pair.cert))
    assert.equal("600\n", mode(pair.key))
    assert.equal("700\n", mode(state .. "/moongate"))
    local said = process.run({ argv = { "openssl", "x509", "-noout", "-in", pair.cert, "-ext",
      "subjectAltName,basicConstraints" } }).stdout
    assert.matches("DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1", said, 1, true)
    assert.matches("CA:FALSE", said, 1, true)
    local log = gate:errors()
    assert.matches("https://127.0.0.1:" .. port, log, 1, true)
    assert.matches(pair.cert .. " (made now)", log, 1, true)
    assert.matches(("curl --cacert %s https://localhost:%s/"):format(pair.cert, port), log, 1, true)
  end)

  it("stays the same at the next start", function()
    local state = process.tempdir("state")
    start(state):stop()
    local first = process.read_file(paths(state).cert)
    local gate = start(state)
    assert.equal(first, process.read_file(paths(state).cert))
    assert.is_nil(gate:errors():find("(made", 1, true))
    gate:stop()
  end)

  it("is made anew when it has expired, or its key is another one's", function()
    local state = process.tempdir("state")
    assert.equal(0, process.run({ argv = { "mkdir", state .. "/moongate" } }).code)
    local pair = paths(state)
    tls.authority():issue({ "localhost" }, { expired = true, to = pair })
    local old = process.read_file(pair.cert)
    local gate, port = start(state)
    assert.not_equal(old, process.read_file(pair.cert))
    assert.equal("hello\n1.1", get("localhost", port, pair.cert, "--http1.1"))
    assert.matches("made anew: [^\n]*localhost.crt: the certificate has expired on", gate:errors())
    gate:stop()
    tls.authority():issue({ "localhost" }, { to = { cert = state .. "/other", key = pair.key } })
    gate, port = start(state)
    assert.matches("made anew: [^\n]*the key does not fit the certificate", gate:errors())
    assert.equal("hello\n2", get("localhost", port, pair.cert, "--http2"))
    gate:stop()
  end)

  it("of which the folder can't be made is an error that names it", function()
    local site = stage.files(FILES)
    local function fails(state)
      local result = server.command({ "serve", site, "--backend", "127.0.0.1:1", "--listen",
        "https://127.0.0.1:" .. net.free_port() }, { env = { XDG_STATE_HOME = state } })
      assert.equal(1, result.code, result.stderr)
      return result.stderr
    end
    local state = process.tempdir("state")
    process.write_file(state .. "/file", "")
    assert.equal(("moongate: a certificate for localhost can't be kept in %s/file/moongate: "
      .. "%s/file/moongate: Not a directory\n"):format(state, state), fails(state .. "/file"))
    if not process.is_root() then
      process.chmod(state, "500")
      assert.matches("can't be kept in " .. state .. "/moongate: ", fails(state), 1, true)
      process.chmod(state, "700")
    end
  end)

  it("is what `make run` offers", function()
    local state = process.tempdir("state")
    local plain, secure = "127.0.0.1:" .. net.free_port(), "127.0.0.1:" .. net.free_port()
    local child = process.spawn({
      argv = { "tools/run-example", "examples/hello" }, stderr = state .. "/log", env = {
        LISTEN = plain, HTTPS = secure, XDG_STATE_HOME = state, TMPDIR = process.tempdir("tmp"),
        MOONGATE_CONTROL = "unix:" .. state .. "/control.sock",
      },
    })
    local function said()
      return process.read_file(state .. "/log") or ""
    end
    poll.wait(function()
      assert(child:alive(), said())
      return net.listening(secure)
    end, "`make run` to listen")
    local body, code, problem = tls.curl({ "https://" .. secure .. "/", "--cacert",
      paths(state).cert, "-w", "%{http_code} %{http_version}" })
    assert.equal(0, code, problem)
    assert.matches("200 2$", body)
    assert.equal(200, http.get(plain, "/").status)
    assert.matches(("Open http://%s/ or https://%s/ and edit "):format(plain, secure), said(), 1,
      true)
    assert.is_true(child:stop())
  end)

  it("that another user has made is left alone", function()
    if process.is_root() then
      return -- root may read it
    end
    local state, site = process.tempdir("state"), stage.files(FILES)
    start(state):stop()
    local pair = paths(state)
    process.chmod(pair.key, "000")
    local result = server.command({ "serve", site, "--backend", "127.0.0.1:1", "--listen",
      "https://127.0.0.1:" .. net.free_port() }, { env = { XDG_STATE_HOME = state } })
    assert.equal(1, result.code)
    assert.matches(pair.key .. ": the user '", result.stderr, 1, true)
    assert.matches("may not read it", result.stderr, 1, true)
  end)
end)
