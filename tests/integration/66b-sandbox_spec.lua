-- `sandbox = true` in the program: what a route that somebody else has written can do to the files
-- and processes around it. The route runs what the query has, as its author could have written it.

local http = require("tests.support.http")
local process = require("tests.support.process")
local server = require("tests.support.server")
local url = require("moongate.base.url")

local ROUTE = [[
local moongate = require("moongate")
return {
  %s
  control = false, script_timeout = 20,
  backends = { app = "unix:/nobody/listens/there" },
  on_request = function(req)
    local chunk, problem = loadstring(req.args.code or "", "=asked")
    if not chunk then return { status = 400, body = problem } end
    setfenv(chunk, setmetatable({ req = req, moongate = moongate }, { __index = _G }))
    local ok, value = pcall(chunk)
    if type(value) == "table" and value.decision then return value.decision end
    return { status = ok and 200 or 422, body = tostring(value) }
  end,
}
]]

--- A folder with a route, and beside it what must not be read.
local function site()
  local dir = process.tempdir("site")
  assert(os.execute(("cd %s && mkdir -p site/public outside && ln -s ../outside/secret.lua "
    .. "site/link.lua && ln -s ../outside site/out && ln -s %s/outside/secret.txt "
    .. "site/public/link.txt"):format(process.quote(dir), process.quote(dir))) == 0)
  process.write_file(dir .. "/outside/secret.txt", "SECRET")
  process.write_file(dir .. "/outside/secret.lua", "return 'SECRET'")
  process.write_file(dir .. "/site/public/page.txt", "a page")
  process.write_file(dir .. "/site/mine.lua", "return { name = 'mine' }")
  assert(os.execute("chmod -R a+rX " .. process.quote(dir)) == 0)
  return dir
end

local function start(dir, setting, args)
  process.write_file(dir .. "/site/route.lua", ROUTE:format(setting))
  return server.start({ route = dir .. "/site/route.lua", args = args })
end

local function ask(s, code)
  return http.get(s.address, "/?code=" .. url.escape(code))
end

describe("a route in a sandbox", function()
  for _, how in ipairs({ "setting", "option" }) do
    it("has no files but those of its folder, by the " .. how, function()
      local dir = site()
      local s = start(dir, how == "setting" and "sandbox = true," or "",
        how == "option" and { "--sandbox" } or nil)
      finally(function() s:stop() end)
      assert.equal("mine", ask(s, "return require('mine').name").body)
      assert.equal("mine", ask(s, "return dofile('mine.lua').name").body)
      local outside = dir .. "/outside"
      for _, code in ipairs({
        "return dofile('link.lua')", "return require('link')", "return require('out.secret')",
        "return assert(loadfile('out/secret.lua'))()", "return dofile('../outside/secret.lua')",
        ("return dofile(%q)"):format(outside .. "/secret.lua"),
        ("return io.open(%q):read('*a')"):format(outside .. "/secret.txt"),
        "return require('ffi').C.getpid()", "return os.execute('true')", "return os.exit(1)",
        "return debug.getregistry()", "return require('moongate.core').stat('/etc')",
        ("return assert(require('moongate.auth').basic({ file = %q, realm = 'x' }))")
          :format(outside .. "/secret.txt"),
      }) do
        local res = ask(s, code)
        assert.is_true(res.status >= 400, code .. ": " .. res.body)
        assert.is_nil(res.body:find("SECRET", 1, true), code)
      end
    end)
  end

  it("serves no files but those of its folder", function()
    local dir = site()
    local s = start(dir, "sandbox = true,")
    finally(function() s:stop() end)
    local function decide(text)
      return ask(s, ("return { decision = %s }"):format(text))
    end
    local public, outside = dir .. "/site/public", dir .. "/outside"
    assert.equal("a page", decide(("{ root = %q, path = '/page.txt' }"):format(public)).body)
    assert.equal("a page", decide(("{ file = %q }"):format(public .. "/page.txt")).body)
    for _, text in ipairs({
      ("{ root = %q, path = '/secret.txt' }"):format(outside),
      ("{ file = %q }"):format(outside .. "/secret.txt"),
      ("{ root = '/', path = %q }"):format(outside .. "/secret.txt"),
      ("{ root = %q, within = { '/' }, path = '/link.txt' }"):format(public),
      ("{ root = %q, within = '/', path = '/link.txt' }"):format(public),
      ("{ root = %q, path = '/link.txt' }"):format(public),
      ("{ root = %q, path = '/secret.txt' }"):format(dir .. "/site/out"),
      ("{ file = %q }"):format(dir .. "/site/out/secret.txt"),
      "{ root = '/etc', path = '/hostname' }", "{ file = '/etc/hostname' }",
      ("{ root = %q, try = { '/secret.txt' } }"):format(outside),
    }) do
      local res = decide(text)
      assert.is_true(res.status >= 400, text .. ": " .. res.body)
      assert.is_nil(res.body:find("SECRET", 1, true), text)
    end
  end)

  it("is served as before where it is none", function()
    local dir = site()
    local s = start(dir, "")
    finally(function() s:stop() end)
    assert.equal("SECRET", ask(s, "return dofile('" .. dir .. "/outside/secret.lua')").body)
    assert.equal("SECRET", ask(s, ("return { decision = { file = %q } }"):format(
      dir .. "/outside/secret.txt")).body)
  end)

  it("is checked as one", function()
    local dir = site()
    process.write_file(dir .. "/site/route.lua", "local f = io.open('/etc/passwd')\n"
      .. "return { on_request = function() end }")
    local result = server.command({ "check", dir .. "/site/route.lua", "--sandbox" })
    assert.equal(1, result.code)
    assert.matches("route%.lua:1: sandbox: 'io' is not for this route", result.stderr)
    assert.equal(0, server.command({ "check", dir .. "/site/route.lua" }).code)
  end)
end)
