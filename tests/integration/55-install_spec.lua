-- `make install` and `make uninstall`: what lies where, whether systemd takes the units, bash the
-- completion and mandoc the pages, and whether Moongate can do its work with no more than the units
-- leave to it.

local http = require("tests.support.http")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local socket = require("socket")
local stage = require("tests.support.stage")

local UNITS = { "moongate.service", "moongate@.service", "moongate.socket" }

local function run(...)
  local argv = { ... }
  -- A make above us is not to have a say in this one.
  local result = process.run({
    argv = argv, env = { MAKEFLAGS = false, MAKELEVEL = false, MFLAGS = false, DESTDIR = false },
  }, 60)
  assert.equal(0, result.code, table.concat(argv, " ") .. ":\n" .. result.stdout .. result.stderr)
  return result
end

local function make(what, prefix, destination)
  -- make can't have a path with blanks, as the project's may be.
  local build, top = server.binary():match("^(.*)/"), process.cwd() .. "/"
  build = build:sub(1, #top) == top and build:sub(#top + 1) or build
  run("make", what, "BUILD=" .. build, "PREFIX=" .. prefix, "DESTDIR=" .. (destination or ""))
end

local function install(prefix, destination)
  make("install", prefix, destination)
end

local function exists(path)
  return process.read_file(path) ~= nil
end

-- The values of a setting of a unit.
local function setting(text, name)
  local values = {}
  for line in text:gmatch("[^\n]+") do
    values[#values + 1] = line:match("^" .. name .. "=(.*)$")
  end
  return values
end

local function has_command(name)
  return os.execute("command -v " .. name .. " >/dev/null 2>&1") == 0
end

describe("make install", function()
  local root = process.tempdir("install")
  install("/opt/moongate", root)
  local top = root .. "/opt/moongate"

  it("writes below its prefix and nowhere else", function()
    local found = run("find", root, "-type", "f").stdout
    for path in found:gmatch("[^\n]+") do
      assert.equal(top .. "/", path:sub(1, #top + 1))
    end
    for _, path in ipairs({
      "bin/moongate", "share/doc/moongate/README.md", "share/doc/moongate/docs/operations.md",
      "share/doc/moongate/examples/hello/route.lua", "share/doc/moongate/logrotate/moongate",
      "share/man/man1/moongate.1", "share/man/man5/route.lua.5",
      "share/bash-completion/completions/moongate", "share/zsh/site-functions/_moongate",
      "share/fish/vendor_completions.d/moongate.fish",
    }) do
      assert.is_true(exists(top .. "/" .. path), path)
    end
  end)

  it("names its prefix in the units, not the folder that it was put into", function()
    for _, name in ipairs(UNITS) do
      local text = assert(process.read_file(top .. "/lib/systemd/system/" .. name), name)
      assert.is_nil(text:find("@PREFIX@", 1, true), name)
      assert.is_nil(text:find(root, 1, true), name)
      for _, command in ipairs(setting(text, "ExecStart")) do
        assert.equal("/opt/moongate/bin/moongate", command:match("^%S+"))
      end
    end
  end)

  it("gives the template the settings of the one unit", function()
    local folder = top .. "/lib/systemd/system/"
    local one = assert(process.read_file(folder .. "moongate.service"))
    local many = assert(process.read_file(folder .. "moongate@.service"))
    for line in one:gmatch("[^\n]+") do
      local name = line:match("^(%u%w+)=")
      if name and name ~= "ExecStart" and name ~= "Description" then
        assert.truthy(many:find("\n" .. line .. "\n", 1, true), line)
      end
    end
  end)

  it("has manual pages that are well written", function()
    for _, page in ipairs({ "man1/moongate.1", "man5/route.lua.5" }) do
      -- Of style nothing is asked but what a reader could see.
      local lint = run("mandoc", "-T", "lint", "-W", "warning", top .. "/share/man/" .. page)
      assert.equal("", lint.stdout)
    end
    local text = run("mandoc", "-T", "ascii", top .. "/share/man/man1/moongate.1").stdout
      :gsub(".\b", "")
    assert.truthy(text:find("\n   moongate explain ROUTE.lua [METHOD] URL [OPTIONS]\n", 1, true))
    assert.truthy(text:find("--listen ADDR\n", 1, true), text)
  end)

  describe("has a completion for bash which offers", function()
    --- What bash offers for the last of the words.
    local function offers(...)
      local words = { ... }
      local script = [[
        source "$1"; shift
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        compopt() { :; }
        _moongate
        printf '%s\n' "${COMPREPLY[@]}"]]
      local stdout = run("bash", "-c", script, "bash",
        top .. "/share/bash-completion/completions/moongate", unpack(words)).stdout
      return (stdout:gsub("%s+$", ""):gsub("\n", " "))
    end
    for words, expected in pairs({
      ["un"] = "undrain", ["run --l"] = "--listen", ["shadow "] = "report clear",
      ["help hol"] = "hold", ["run --workers "] = "", ["explain x.lua --log READ"] = "README.md",
      ["explain x.lua --log = READ"] = "README.md", ["check READ"] = "README.md",
      ["nonsense -"] = "",
    }) do
      it("for moongate " .. words, function()
        local list = { "moongate" }
        for word in (words .. " "):gmatch("(%S*) ") do
          list[#list + 1] = word
        end
        assert.equal(expected, offers(unpack(list)))
      end)
    end
  end)

  it("installs a binary that serves", function()
    local route = stage.files({
      ["route.lua"] = "return { on_request = function() return { body = 'installed' } end }\n",
    }) .. "/route.lua"
    local address = "127.0.0.1:" .. net.free_port()
    local log = process.tempdir("installed") .. "/stderr"
    local moongate = process.spawn({
      argv = {
        top .. "/bin/moongate", "run", route, "--listen", address, "--control", "off",
        "--workers", "1",
      },
      stderr = log,
    })
    finally(function() moongate:stop() end)
    poll.wait(function()
      return (process.read_file(log) or ""):find("serving", 1, true)
    end, "the installed binary to serve")
    assert.equal("installed", http.get(address, "/").body)
  end)

  if has_command("systemd-analyze") then
    it("writes units that systemd accepts", function()
      local prefix = process.tempdir("prefix")
      install(prefix)
      local folder = prefix .. "/lib/systemd/system/"
      local result = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no",
        folder .. "moongate.service", folder .. "moongate@site.service",
        folder .. "moongate.socket")
      assert.equal("", result.stderr)
    end)
  end

  it("takes away what it has put, and nothing else", function()
    local folder = process.tempdir("uninstall")
    local function left()
      return (run("find", folder, "-mindepth", "1", "-printf", "%P\n").stdout:gsub("%s+$", ""))
    end
    install("/opt/moongate", folder)
    install("/opt/moongate", folder) -- the second time over the first
    make("uninstall", "/opt/moongate", folder)
    assert.equal("", left())
    process.run({ argv = { "mkdir", "-p", folder .. "/usr/bin" } }, 10)
    install("/usr", folder)
    process.run({ argv = { "touch", folder .. "/usr/share/doc/moongate/note" } }, 10)
    make("uninstall", "/usr", folder)
    assert.same({ "usr", "usr/bin", "usr/share", "usr/share/doc", "usr/share/doc/moongate",
      "usr/share/doc/moongate/note" }, (function()
      local list = {}
      for name in left():gmatch("[^\n]+") do
        list[#list + 1] = name
      end
      table.sort(list)
      return list
    end)())
    local again = process.run({ argv = { "tools/put", "remove", folder, "/usr" } }, 10)
    assert.equal(1, again.code)
  end)

  -- What the units leave to root. The workers need none of it.
  if process.is_root() and has_command("setpriv") then
    it("asks in the units for the capabilities that the master needs", function()
      local unit = assert(process.read_file(top .. "/lib/systemd/system/moongate.service"))
      local set = { "-all" }
      for name in setting(unit, "CapabilityBoundingSet")[1]:gmatch("CAP_(%S+)") do
        set[#set + 1] = "+" .. name:lower()
      end
      local address
      for port = 1023, 900, -1 do -- below 1024, where not everybody may listen
        local probe = socket.bind("127.0.0.1", port)
        if probe then
          probe:close()
          address = "127.0.0.1:" .. port
          break
        end
      end
      local text = [[
        local d = require("moongate").shared("x")
        return { on_request = function(req)
          return { body = "body %s", headers = { Shared = tostring(d:incr("n", 1, 0)) } }
        end }
      ]]
      local dir = stage.files({ ["route.lua"] = text:format("one") })
      local log = process.tempdir("caps") .. "/stderr"
      local function start()
        return process.spawn({
          argv = {
            "setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set",
            table.concat(set, ","),
            server.binary(), "run", dir .. "/route.lua", "--listen", address, "--workers", "2",
            "--control", "unix:" .. dir .. "/control.sock",
          },
          stderr = log,
        })
      end
      local master = start()
      finally(function() master:stop() end)
      local function wait_log(word)
        poll.wait(function()
          return (process.read_file(log) or ""):find(word, 1, true) or not master:alive()
        end, word)
        assert.is_true(master:alive(), process.read_file(log))
      end
      wait_log("serving")
      assert.equal("body one", http.get(address, "/").body)
      local res = http.get(address, "/")
      assert.equal("2", res.headers.shared, process.read_file(log))
      for _, pid in ipairs(process.children(master.pid)) do
        local status = process.read_file(("/proc/%d/status"):format(pid))
        assert.is_nil(status:match("Uid:%s+0%s"), "a worker is root")
        assert.equal("0000000000000000", status:match("CapEff:%s+(%x+)"))
      end
      stage.write(dir, { ["route.lua"] = text:format("two") })
      master:kill("HUP")
      wait_log("generation 2 serves")
      assert.equal("body two", http.get(address, "/").body)
      -- Workers are another user's: without the right to signal them this would take stop_timeout.
      master:kill("TERM")
      assert.equal("exit status 0", master:wait(10))
    end)
  end
end)
