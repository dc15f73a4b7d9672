-- Specs of moongate.cli.serve.

local fake_fs = require("support.fs")
local folders = require("support.folder")
local program = require("support.program")
local req = require("support.req")

describe("moongate serve", function()
  local core
  before_each(function()
    core = program.core()
    core.existing = { ["/home/ann/www"] = "directory", ["/home/ann/x"] = "file" }
  end)

  it("writes the route that one would write", function()
    local status, _, stderr = program.run(core, "serve", "www", "--backend", ":9000")
    assert.equal("", stderr)
    assert.equal(0, status)
    local opts = core.ran
    assert.same({ "127.0.0.1:8080" }, opts.listen)
    assert.equal("serve", opts.name)
    assert.is_false(opts.watch)
    assert.is_nil(opts.control)
    assert.matches("^unix:", opts.control_default)
    assert.is_nil(opts.companion)
    assert.equal("moongate: from the folder /home/ann/www\n", opts.banner)

    local fs = fake_fs.new({ "/home/ann/www/./", "/home/ann/www/a.php", "/home/ann/www/b.css" })
    function fs.readable()
      return true
    end
    local real_fs, saved = require("moongate.base.fs"), {}
    for name, fn in pairs(fs) do
      saved[name], real_fs[name] = real_fs[name], fn
    end
    local load = require("moongate.route.load")
    local settings = load.source(opts.source, opts.name, { listen = opts.listen })
    assert.equal("127.0.0.1:9000", settings.backends[1].servers[1].address)
    local d, script, path_info = settings.hooks.on_request(req.get("/a.php/x"))
    assert.equal("php", d.backend)
    assert.equal("/home/ann/www", d.root)
    assert.equal("/a.php", script)
    assert.equal("/x", path_info)
    assert.same({ root = "/home/ann/www" }, (settings.hooks.on_request(req.get("/b.css"))))
    for name in pairs(fs) do
      real_fs[name] = saved[name]
    end
  end)

  it("starts a PHP of its own", function()
    local folder = folders.new()
    core.programs = { ["php-fpm8.2"] = "/usr/sbin/php-fpm8.2" }
    core.tempdir = function()
      return folder
    end
    assert.equal(0, (program.run(core, "serve", "www", "--listen", ":8081")))
    assert.same({ ":8081" }, core.ran.listen)
    assert.equal("/usr/sbin/php-fpm8.2", core.ran.companion[1])
    assert.equal(folder, core.ran.cleanup)
    assert.matches("php = \"unix:" .. folder .. "/php.sock\"", core.ran.source)
    folders.remove(folder)
  end)

  it("quotes odd names of folders", function()
    core.existing['/home/ann/a "b"\n'] = "directory"
    assert.equal(0, (program.run(core, "serve", 'a "b"\n', "--backend", ":9000")))
    assert.is_function(loadstring(core.ran.source))
  end)

  for _, case in ipairs({
    { 1, { "nope" }, "moongate: nope: No such file or directory\n" },
    { 1, { "x" }, "moongate: x: not a folder; `moongate run` takes a script\n" },
    { 1, { "www" }, "moongate: no PHP was found" },
    { 2, { "www", "--backend", "x" }, "moongate serve: --backend: 'x': expected an address" },
  }) do
    it("fails for " .. table.concat(case[2], " "), function()
      local status, _, stderr = program.run(core, "serve", unpack(case[2]))
      assert.equal(case[1], status)
      assert.equal(case[3], stderr:sub(1, #case[3]))
      assert.is_nil(core.ran)
    end)
  end
end)
