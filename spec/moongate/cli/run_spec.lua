-- Specs of moongate.cli.run and of what it shares with serve in moongate.cli.common.

local folders = require("support.folder")
local program = require("support.program")

describe("moongate run", function()
  local core, folder
  before_each(function()
    folder = folders.new()
    core = program.core({
      programs = { ["php-fpm8.2"] = "/usr/sbin/php-fpm8.2" },
      tempdir = function()
        return folder
      end,
    })
    core.uid = function()
      return 0
    end
  end)
  after_each(function()
    folders.remove(folder)
  end)

  --- What core.run is told.
  local function opts(...)
    local status, _, stderr = program.run(core, "run", ...)
    assert.equal("", stderr)
    assert.equal(0, status)
    return core.ran
  end

  local CONTROL = "unix:/run/moongate/moongate.sock"

  it("runs a route by its absolute path", function()
    assert.same({ route = "/home/ann/site/route.lua", control_default = CONTROL },
      opts("site/route.lua"))
    assert.equal("/home/ann/route.lua", opts("./route.lua").route)
    assert.equal("/etc/route.lua", opts("/etc/route.lua").route)
  end)

  it("passes the options on", function()
    local got = opts("r.lua", "--listen", ":8081", "--listen=unix:/run/x.sock", "--workers", "3",
      "--pid", "/run/x.pid", "--user", "www-data:web")
    assert.same({
      route = "/home/ann/r.lua", listen = { ":8081", "unix:/run/x.sock" }, workers = 3,
      pid = "/run/x.pid", user = "www-data", group = "web", control_default = CONTROL,
    }, got)
    got = opts("r.lua", "--no-watch", "--control=off", "--workers=auto", "--user", "ann")
    assert.same({
      route = "/home/ann/r.lua", watch = false, control = false, control_default = CONTROL,
      user = "ann",
    }, got)
    assert.is_true(opts("r.lua", "--watch").watch)
    assert.is_nil(opts("r.lua").watch)
    assert.equal("127.0.0.1:9901", opts("r.lua", "--control", "127.0.0.1:9901").control)
    assert.equal("unix:/run/x.sock", opts("r.lua", "--control=unix:/run/x.sock").control)
    assert.is_nil(opts("r.lua").control)
  end)

  it("hands what overrides the route's settings over as the text of a table", function()
    local function overrides(...)
      opts(...)
      return assert(loadstring("return " .. core.overrides))()
    end
    assert.same({}, overrides("r.lua"))
    assert.same({
      listen = { ":8081", "unix:/run/it's \"x\".sock" }, workers = 3, user = "ann", group = "web",
      watch = true, control = false,
    }, overrides("r.lua", "--listen", ":8081", "--listen", "unix:/run/it's \"x\".sock", "--workers",
      "3", "--user", "ann:web", "--watch", "--control", "off"))
  end)

  it("returns the exit status of the server", function()
    core.run = function()
      return 1
    end
    assert.equal(1, (program.run(core, "run", "r.lua")))
  end)

  it("starts a PHP where the script expects it", function()
    local got = opts("r.lua", "--php", "unix:/run/mine.sock")
    assert.equal("/usr/sbin/php-fpm8.2", got.companion[1])
    assert.equal("unix:/run/mine.sock", got.companion_socket)
    assert.equal(folder, got.cleanup)
    assert.equal("unix:/run/mine.sock", core.env.MOONGATE_PHP)
    local config = assert(io.open(folder .. "/php-fpm.conf")):read("*a")
    assert.matches("\nlisten = /run/mine.sock\n", config)
  end)

  it("starts a PHP on a socket of its own", function()
    assert.equal("unix:" .. folder .. "/php.sock", opts("r.lua", "--php", "auto").companion_socket)
    assert.equal("unix:" .. folder .. "/php.sock", core.env.MOONGATE_PHP)
  end)

  it("says what to install where there is no PHP", function()
    core.programs = {}
    local status, _, stderr = program.run(core, "run", "r.lua", "--php", ":9000")
    assert.equal(1, status)
    assert.matches("apt%-get install php%-fpm", stderr)
    assert.is_nil(core.ran)
  end)

  for _, case in ipairs({
    { { "--listen", "x" }, "--listen: 'x': expected an address such as" },
    { { "--listen", "h:0" }, "--listen: 'h:0': a port is a number from 1 to 65535" },
    { { "--workers", "0" }, "--workers: expected a number from 1 to 256, or auto" },
    { { "--workers", "257" }, "--workers: expected a number from 1 to 256, or auto" },
    { { "--workers", "many" }, "--workers: expected a number from 1 to 256, or auto" },
    { { "--user", "a:b:c" }, "--user: expected NAME or NAME:GROUP" },
    { { "--user", "" }, "--user: expected NAME or NAME:GROUP" },
    { { "--control", "x" }, "--control: 'x': expected an address such as" },
    { { "--control", "unix:x" }, "--control: 'unix:x': a unix socket needs an absolute path" },
  }) do
    it("rejects " .. table.concat(case[1], " "), function()
      local status, _, stderr = program.run(core, "run", "r.lua", unpack(case[1]))
      assert.equal(2, status)
      local expected = "moongate run: " .. case[2]
      assert.equal(expected, stderr:sub(1, #expected))
      assert.is_nil(core.ran)
    end)
  end

  it("rejects an address of PHP that is none", function()
    local status, _, stderr = program.run(core, "run", "r.lua", "--php", "php.sock")
    assert.equal(1, status)
    assert.matches("^moongate: %-%-php: 'php.sock': expected an address", stderr)
  end)
end)
