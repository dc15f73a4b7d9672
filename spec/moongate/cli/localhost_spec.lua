-- Specs of moongate.cli.localhost, and of what `serve` and `run` make of https:// addresses.

local program = require("support.program")

describe("a certificate for localhost", function()
  local core, env, getenv
  before_each(function()
    env, getenv = { HOME = "/home/ann/" }, os.getenv
    os.getenv = function(name) -- luacheck: ignore 122
      return env[name]
    end
    core = program.core({
      written = {}, closed = {},
      private_folder = function(path)
        core.folder = path
        return 7
      end,
      close_descriptor = function(fd)
        table.insert(core.closed, fd)
      end,
      localhost_certificate = function()
        return "CERT", "KEY"
      end,
      write_private = function(path, text)
        core.written[path] = text
        return true
      end,
      certificates = function()
        return core.problems or {}, { "its issuer is not known" }
      end,
      user_name = function()
        return "ann"
      end,
      readable = function(path)
        return core.unreadable ~= path or nil, "Permission denied"
      end,
    })
    core.existing = { ["/home/ann/www"] = "directory" }
  end)
  after_each(function()
    os.getenv = getenv -- luacheck: ignore 122
  end)

  local FOLDER = "/home/ann/.local/state/moongate"
  local CERT, KEY = FOLDER .. "/localhost.crt", FOLDER .. "/localhost.key"

  local function serve(...)
    return program.run(core, "serve", "www", "--backend", ":9000", ...)
  end

  local function overrides()
    return assert(loadstring("return " .. core.overrides))()
  end

  it("is made for `serve --tls`, beside http", function()
    assert.equal(0, (serve("--tls")))
    assert.equal(FOLDER, core.folder)
    assert.same({ [CERT] = "CERT", [KEY] = "KEY" }, core.written)
    assert.same({ 7 }, core.closed)
    assert.same({ "127.0.0.1:8080", "https://127.0.0.1:8443" }, overrides().listen)
    assert.equal(CERT, overrides().tls_cert)
    assert.equal(KEY, overrides().tls_key)
    assert.equal("moongate: from the folder /home/ann/www\n"
      .. "moongate: the certificate for localhost is " .. CERT .. " (made now)\n"
      .. "moongate: a browser asks once whether to trust it; others are told: curl --cacert "
      .. CERT .. " https://localhost:8443/\n", core.ran.banner)
  end)

  it("gives a listener its TLS", function()
    assert.equal(0, (serve("--listen", ":8081", "--listen", "https://[::1]:8444/")))
    local normalized = require("moongate.route.settings").normalize(
      { on_request = function() end }, { name = "r.lua", text = "" }, overrides())
    assert.is_nil(normalized.listen[1].tls)
    assert.equal("[::1]:8444", normalized.listen[2].address)
    assert.same({ pairs = { { cert = CERT, key = KEY } } }, normalized.listen[2].tls)
  end)

  it("is not made for http", function()
    assert.equal(0, (serve()))
    assert.is_nil(core.folder)
    assert.is_nil(overrides().tls_cert)
  end)

  it("is kept as long as it serves", function()
    core.existing[CERT], core.existing[KEY] = "file", "file"
    assert.equal(0, (serve("--tls")))
    assert.same({}, core.written)
    core.problems = { CERT .. ": the certificate has expired on 2026-01-01" }
    assert.equal(0, (serve("--tls")))
    assert.same({ [CERT] = "CERT", [KEY] = "KEY" }, core.written)
    assert.matches("(made anew: " .. CERT .. ": the certificate has expired", core.ran.banner, 1,
      true)
  end)

  it("lies in the folder of XDG_STATE_HOME", function()
    env.XDG_STATE_HOME = "/var/state/"
    assert.equal(0, (program.run(core, "run", "r.lua", "--listen", "https://:8443")))
    assert.equal("/var/state/moongate", core.folder)
    assert.equal("/var/state/moongate/localhost.crt", overrides().tls_cert)
  end)

  local function fails(expected)
    local status, _, stderr = serve("--tls")
    assert.equal(1, status)
    assert.equal("moongate: " .. expected .. "\n", stderr)
    assert.is_nil(core.ran)
  end

  it("that another user has made is left alone", function()
    core.existing[CERT], core.existing[KEY], core.unreadable = "file", "file", KEY
    fails("a certificate for localhost can't be had: " .. KEY .. ": the user 'ann' may not read "
      .. "it; remove it, or serve as the user whose it is")
    assert.same({}, core.written)
    assert.same({ 7 }, core.closed)
  end)

  it("needs a folder", function()
    core.private_folder = function(path)
      return nil, path .. ": Not a directory"
    end
    fails("a certificate for localhost can't be kept in " .. FOLDER .. ": " .. FOLDER
      .. ": Not a directory")
    env.HOME = nil
    fails("a certificate for localhost needs a folder to lie in: HOME or XDG_STATE_HOME names it")
  end)

  it("is of no use for an address that is none", function()
    local status, _, stderr = serve("--listen", "https://x")
    assert.equal(2, status)
    assert.matches("--listen: 'x': expected an address such as", stderr, 1, true)
  end)
end)
