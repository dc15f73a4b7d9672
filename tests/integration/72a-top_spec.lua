-- moongate top in a real terminal, which tmux has: what it shows, its keys, and that the terminal
-- is as it was however it ends.

local http = require("tests.support.http")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

-- Each terminal is one of a tmux server of its own.
local Terminal = {}
Terminal.__index = Terminal

function Terminal:tmux(...)
  local result = process.run({ argv = { "tmux", "-u", "-S", self.socket, "-f", "/dev/null", ... } })
  assert(result.code == 0, result.stderr)
  return result.stdout
end

function Terminal:ask(format)
  return (self:tmux("display-message", "-p", format):gsub("\n$", ""))
end

--- A terminal of 80x24 in which a shell runs some commands; `top` in them is the command under
--- test.
local function open(commands, control)
  local dir = process.tempdir("terminal")
  local self = setmetatable({ dir = dir, socket = dir .. "/tmux" }, Terminal)
  local script = dir .. "/script"
  process.write_file(script, (commands:gsub("%f[%w]top%f[%W]",
    ("'%s' top --control %s --interval 0.2"):format(server.binary(), control))))
  self:tmux("new-session", "-d", "-x", "80", "-y", "24",
    ("cd '%s' && LC_ALL=C.UTF-8 exec sh '%s'"):format(dir, script))
  self.tty, self.shell = self:ask("#{pane_tty}"), tonumber(self:ask("#{pane_pid}"))
  finally(function()
    pcall(self.tmux, self, "kill-server")
  end)
  return self
end

function Terminal:lines()
  local list = {}
  for line in self:tmux("capture-pane", "-p"):gmatch("([^\n]*)\n") do
    list[#list + 1] = line
  end
  return list
end

--- Waits until a line fits.
function Terminal:wait(pattern)
  local ok, found = pcall(poll.wait, function()
    for i, line in ipairs(self:lines()) do
      if line:find(pattern) then
        return { line, i }
      end
    end
  end, pattern)
  assert(ok, ("no line %q in\n%s"):format(pattern, table.concat(self:lines(), "\n")))
  return unpack(found)
end

function Terminal:press(...)
  self:tmux("send-keys", ...)
end

function Terminal:settings()
  local result = process.run({ argv = { "stty", "-F", self.tty, "-g" } })
  assert(result.code == 0, result.stderr)
  return result.stdout
end

--- The process of `moongate top`.
function Terminal:command()
  return poll.wait(function()
    return process.children(self.shell)[1]
  end, "moongate top")
end

-- The shell outlives what ends the command, and says how it ended.
local SHELL = "trap : INT HUP; echo BEFORE; top\necho ENDED $?; cat"

describe("moongate top", function()
  local r, control
  setup(function()
    control = "127.0.0.1:" .. net.free_port()
    r = rig.start({
      args = { "--control", control }, responder = { count = 2 },
      on_request = [[
        if req.path == "/wrong" then error("it fails") end
        do return { backend = "app", docroot = "/srv/app", tenant = req.args.Tenant } end]],
    })
  end)
  teardown(function()
    r:stop()
  end)

  it("shows servers, tenants and hooks by keys, sorted and filtered", function()
    local t = open(SHELL, control)
    t:wait("^BACKEND +SERVER +STATE")
    local _, first = t:wait("^app .* up ")
    assert.equal(6, first)
    t:press("/")
    t:press("responder2")
    t:wait("^filter: responder2_")
    assert.is_nil(t:lines()[7]:find("^app"))
    t:press("Enter")
    t:wait("^q quit  filter: responder2")
    t:press("Escape")
    poll.wait(function()
      return t:lines()[7]:find("^app")
    end, "both servers")
    t:press("s")
    t:wait("sort: ACTIVE")
    t:press("S", "r")
    t:wait("sort: REQ/S")
    t:press("Tab")
    t:wait("^TENANT ")
    poll.wait(function()
      r:get("Tenant=shop&body=x")
      for _, line in ipairs(t:lines()) do
        if line:find("^shop +0 +0 +[%d.]+ +0 +%d+$") then
          return true
        end
      end
    end, "a tenant")
    t:wait("^[%d.]+ req/s")
    t:press("3")
    t:wait("^/srv/app/x%.php +[%d.]+ +[%d.]+ +[%d.]+ ms +0 +0 +%d+$")
    t:press("4")
    t:wait("^on_request +")
    t:press("5")
    t:wait("AGE +STATE +CLIENT +REQUEST")
    t:press("q")
    t:wait("^ENDED 0$")
  end)

  it("sorts and filters by keys what is there: scripts, errors, messages, generations", function()
    for i = 1, 3 do
      for _ = 1, i do
        http.get(r.address, ("/s%d.php?body=x&stderr=%d"):format(i, i))
      end
    end
    http.get(r.address, "/wrong?body=x")
    http.get(r.address, "/bad.php?status=500&body=x")
    local t = open(SHELL, control)
    t:wait("^BACKEND")
    --- The rows of the table, by their first words.
    local function first(pattern)
      local found = {}
      for _, line in ipairs(t:lines()) do
        found[#found + 1] = line:match(pattern)
      end
      return table.concat(found, " ")
    end
    local function shows(expected, pattern)
      poll.wait(function()
        return first(pattern) == expected
      end, expected)
    end
    t:press("3", "s", "s", "s", "s") -- from BUSY to REQUESTS
    t:wait("sort: REQUESTS")
    t:press("/")
    t:press("/s", "Enter")
    shows("3 2 1", "^/srv/app/s(%d)%.php ")
    t:press("r")
    shows("1 2 3", "^/srv/app/s(%d)%.php ")
    t:press("S", "S", "r") -- ERRORS, where all are alike: by name
    t:wait("sort: ERRORS")
    shows("1 2 3", "^/srv/app/s(%d)%.php ")
    t:press("Escape")
    shows("bad", "^/srv/app/(bad)%.php ")
    poll.wait(function()
      return t:lines()[6]:find("^/srv/app/bad%.php .* 1 +0 +1$")
    end, "the one with an error first")
    t:press("6")
    t:wait("^%d%d:%d%d:%d%d  HOLDS  on_request +.*route%.lua:%d+")
    t:press("7")
    t:wait("^%d%d:%d%d:%d%d  /srv/app/s3%.php +%d+ +3$")
    t:press("/")
    t:press("s2.php", "Enter")
    shows("2", "^%d%d:%d%d:%d%d  /srv/app/s(%d)%.php ")
    t:press("Escape", "8")
    t:wait("^%d%d:%d%d:%d%d +1  serving  %x+ +kept  start")
    t:press("q")
    t:wait("^ENDED 0$")
  end)

  it("says first what is degraded, and when nobody answers", function()
    local address = r.back.addresses[1]
    assert.equal(0, server.command({ "drain", "app", address, "--control", control }).code)
    local t = open(SHELL, control)
    t:wait("^! backend 'app': server .*")
    assert.equal(0, server.command({ "undrain", "app", address, "--control", control }).code)
    poll.wait(function()
      return t:lines()[4] == ""
    end, "nothing to be degraded")
    t:press("q")
    t:wait("^ENDED 0$")
  end)

  it("leaves the terminal as it was: q, Ctrl-C, and signals", function()
    for _, case in ipairs({
      { "q", 0 }, { "C-c", 130 }, { "TERM", 143 }, { "HUP", 129 }, { "QUIT", 131 },
    }) do
      local t = open("trap : INT HUP QUIT; echo BEFORE; read go; top\necho ENDED $?; cat", control)
      t:wait("^BEFORE$")
      local settings = t:settings()
      t:press("Enter")
      t:wait("^BACKEND")
      assert.are_not.equal(settings, t:settings())
      assert.equal("1", t:ask("#{alternate_on}"))
      assert.equal("0", t:ask("#{cursor_flag}"))
      if case[1] == "q" or case[1] == "C-c" then
        t:press(case[1])
      else
        process.run({ argv = { "kill", "-" .. case[1], tostring(t:command()) } })
      end
      t:wait(("^ENDED %d$"):format(case[2]))
      assert.equal("BEFORE", t:lines()[1])
      assert.equal(settings, t:settings())
      assert.same({ "0", "1" }, { t:ask("#{alternate_on}"), t:ask("#{cursor_flag}") })
    end
  end)

  it("gives the terminal back while it is stopped, and draws again when it goes on", function()
    local t = open("set -m; echo BEFORE; read go; top\n"
      .. "echo STOPPED; read go; fg; echo ENDED $?; cat", control)
    t:wait("^BEFORE$")
    local settings = t:settings()
    t:press("Enter")
    t:wait("^BACKEND")
    t:press("C-z")
    t:wait("^STOPPED$")
    assert.equal(settings, t:settings())
    assert.equal("BEFORE", t:lines()[1])
    t:press("Enter")
    t:wait("^BACKEND")
    assert.are_not.equal(settings, t:settings())
    t:press("q")
    t:wait("^ENDED 0$")
    assert.equal(settings, t:settings())
  end)

  it("follows the size of the terminal", function()
    local t = open(SHELL, control)
    t:wait("^BACKEND")
    poll.wait(function() -- the terminal may have shown a part of the picture
      return (t:lines()[24] or ""):find("^q quit")
    end, "the last line")
    t:tmux("resize-window", "-x", "44", "-y", "9")
    poll.wait(function()
      local lines = t:lines()
      return #lines == 9 and lines[9]:find("^q quit")
    end, "a picture of 9 lines")
    t:tmux("resize-window", "-x", "130", "-y", "30")
    t:wait("LATENCY +FAILS +MAX +REQUESTS$")
    poll.wait(function()
      return (t:lines()[30] or ""):find("^q quit")
    end, "the last line of 30")
  end)

  it("draws on a dumb terminal without any escape sequence", function()
    local t = open("read go; TERM=dumb top\necho ENDED $?; cat", control)
    t:tmux("pipe-pane", ("cat >'%s/raw'"):format(t.dir))
    t:press("Enter")
    t:wait("^BACKEND")
    t:press("q")
    t:wait("^ENDED 0$")
    local raw = poll.wait(function()
      local text = process.read_file(t.dir .. "/raw")
      return text and text:find("ENDED 0", 1, true) and text
    end, "what was drawn")
    assert.is_nil(raw:find("\27", 1, true))
  end)

  it("prints one picture where there is no terminal", function()
    local result = server.command({ "top", "--once", "--interval", "0.1", "--control", control })
    assert.same({ 0, "" }, { result.code, result.stderr })
    assert.matches("^moongate [%d.]+ at " .. control, result.stdout)
    assert.matches("\napp +unix:[^\n]+ +up +", result.stdout)
    assert.is_nil(result.stdout:find("[\27\r]"))
    result = server.command({ "top", "--control", control })
    assert.equal(1, result.code)
    assert.matches("no terminal; `moongate top --once` needs none", result.stderr, 1, true)
    result = server.command({ "top", "--interval", "0", "--control", control })
    assert.equal(2, result.code)
    result = server.command({ "top", "--control", "unix:/nonexistent/x.sock" })
    assert.equal(1, result.code)
    assert.matches("no instance answers at unix:/nonexistent/x.sock", result.stderr, 1, true)
  end)

  it("goes on where the instance does not answer for a while", function()
    local dir = process.tempdir("control")
    local address = "unix:" .. dir .. "/c.sock"
    local options = { route = "return { on_request = print }", args = { "--control", address } }
    local s = server.start(options)
    local t = open(SHELL, address)
    t:wait("^BACKEND")
    s:stop()
    t:wait("^! NO ANSWER: no instance answers at unix:")
    s = server.start(options)
    finally(function()
      s:stop()
      pcall(t.tmux, t, "kill-server")
    end)
    poll.wait(function()
      return t:lines()[4] == ""
    end, "an answer")
    t:press("q")
    t:wait("^ENDED 0$")
  end)
end)
