-- Specs of moongate.cli.fpm.

local folders = require("support.folder")
local program = require("support.program")

describe("a private PHP", function()
  local core, folder
  before_each(function()
    folder = folders.new()
    core = program.core({
      programs = { env = "/usr/bin/env" },
      tempdir = function()
        return folder
      end,
    })
  end)
  after_each(function()
    program.install(nil)
    folders.remove(folder)
  end)

  --- Attaches a PHP and reads its configuration.
  local function attach(opts, address)
    program.install(core)
    local problem, where = require("moongate.cli.fpm").attach(opts, address)
    local file = io.open(folder .. "/php-fpm.conf")
    local config = file and file:read("*a")
    if file then
      file:close()
    end
    return problem, where, config
  end

  it("is the newest php-fpm", function()
    core.programs["php-fpm8.2"] = "/usr/sbin/php-fpm8.2"
    core.programs["php-fpm7.4"] = "/usr/sbin/php-fpm7.4"
    core.programs["php-fpm"] = "/usr/sbin/php-fpm"
    local opts = {}
    local problem, where = attach(opts)
    assert.is_nil(problem)
    assert.equal("unix:" .. folder .. "/php.sock", where)
    assert.same({
      companion = {
        "/usr/sbin/php-fpm8.2", "-F", "-O", "-d", "opcache.revalidate_freq=0",
        "-y", folder .. "/php-fpm.conf",
      },
      companion_socket = where, cleanup = folder,
    }, opts)
  end)

  it("is ours alone as an ordinary user", function()
    core.programs["php-fpm"] = "/usr/sbin/php-fpm"
    local _, _, config = attach({})
    assert.matches("\nlisten = " .. folder .. "/php.sock\n", config)
    assert.matches("\nlisten.mode = 0600\n", config)
    assert.matches("\nclear_env = no\n", config)
    assert.is_nil(config:match("\nuser ="))
  end)

  it("belongs to the workers' user as root, and does not see root's environment", function()
    core.programs["php-fpm"] = "/usr/sbin/php-fpm"
    core.uid = function()
      return 0
    end
    local opts = { user = "ann", group = "web" }
    local _, _, config = attach(opts)
    assert.matches("\nuser = ann\nlisten.owner = ann\ngroup = web\n", config)
    assert.is_nil(config:match("clear_env"))
    assert.not_equal("-R", opts.companion[#opts.companion])
  end)

  it("may be root's where that is asked for", function()
    core.programs["php-fpm"] = "/usr/sbin/php-fpm"
    core.uid = function()
      return 0
    end
    local opts = { user = "root" }
    local _, _, config = attach(opts)
    assert.matches("\nuser = root\n", config)
    assert.equal("-R", opts.companion[#opts.companion])
  end)

  it("listens on the address that it is given", function()
    core.programs["php-fpm"] = "/usr/sbin/php-fpm"
    local _, where, config = attach({}, "127.0.0.1:9001")
    assert.equal("127.0.0.1:9001", where)
    assert.matches("\nlisten = 127.0.0.1:9001\n", config)
    assert.matches("\nlisten.allowed_clients = 127.0.0.1\n", config)
  end)

  it("may be php-cgi", function()
    core.programs["php-cgi8.2"] = "/usr/bin/php-cgi8.2"
    local opts = {}
    assert.is_nil((attach(opts, "unix:/run/x.sock")))
    assert.same({
      "/usr/bin/env", "PHP_FCGI_CHILDREN=4", "PHP_FCGI_MAX_REQUESTS=1000", "/usr/bin/php-cgi8.2",
      "-d", "opcache.revalidate_freq=0", "-b", "/run/x.sock",
    }, opts.companion)
  end)

  it("is not php-cgi as root", function()
    core.programs["php-cgi"] = "/usr/bin/php-cgi"
    core.uid = function()
      return 0
    end
    local opts = {}
    assert.matches("php%-cgi would run as root", (attach(opts)))
    assert.same({}, opts)
    assert.is_nil((attach({ user = "root" })))
  end)

  it("says what to install", function()
    local opts = {}
    assert.matches("apt%-get install php%-fpm", (attach(opts)))
    assert.same({}, opts)
  end)
end)
