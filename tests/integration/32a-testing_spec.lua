-- `moongate test`: specs of a route run by the real program, so that requests and params are those
-- of the server. The example and the page that show it are run as they stand.

local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

--- Runs the specs of a route.
local function run(dir, ...)
  return server.command({ "test", dir .. "/route.lua", ... })
end

--- A folder with a route and its specs.
local function folder(files)
  local dir = process.tempdir("route")
  stage.write(dir, files)
  return dir
end

--- The Lua blocks of a page.
local function blocks_of(name)
  local blocks = {}
  for block in assert(process.read_file(name)):gmatch("\n```lua\n(.-\n)```") do
    blocks[#blocks + 1] = block
  end
  return blocks
end

describe("moongate test", function()
  it("runs the specs of the example", function()
    local result = run(stage.copy("examples/tenants"))
    assert.equal("3 passed, 0 failed\n", result.stdout, result.stderr)
    assert.equal("", result.stderr)
    assert.equal(0, result.code)
  end)

  it("runs the example of docs/testing.md", function()
    local blocks = blocks_of("docs/testing.md")
    local dir = folder({ ["route.lua"] = blocks[1], ["spec/route_spec.lua"] = blocks[2] })
    local result = run(dir)
    assert.equal("4 passed, 0 failed\n", result.stdout, result.stderr)
    assert.equal(0, result.code)
  end)

  it("does what the server does with a request", function()
    local result = run(folder({
      ["route.lua"] = [[
        local r = require("moongate.router").new()
        r:path("/files/*", { root = "/usr/share/dict/nothing" })
        r:path("/app/*", function(req)
          return { backend = "app", root = "/srv", ini = { memory_limit = "1G" } }
        end)
        r:path("/boom", function() return nil + 1 end)
        return {
          backends = { app = { servers = ":9000", ini = { memory_limit = "128M" } } },
          on_request = r,
          on_params = function(req, params)
            params.A = req.args.a
            params.B = nil
          end,
          on_response = function(req, res)
            res.headers["Set-Cookie"] = { "a=1", "b=2" }
            if res.status == 418 then res.status = 200 end
          end,
        }
      ]],
      ["spec/a_spec.lua"] = [[
        local route = require("moongate.testing").load()
        it("params", function()
          local out = route:request {
            url = "https://shop.test/app/x.php?a=b%20c", method = "POST", body = ("x"):rep(70000),
            headers = { ["X-Real"] = "1", Proxy = "evil", Cookie = { "a=b", "c=d" } },
            ip = "2001:db8::7",
          }
          local p = out.params
          assert.equal("b c", p.A)
          assert.equal("70000", p.CONTENT_LENGTH)
          assert.equal("on", p.HTTPS)
          assert.equal("2001:db8::7", p.REMOTE_ADDR)
          assert.equal("a=b; c=d", p.HTTP_COOKIE)
          assert.equal("1", p.HTTP_X_REAL)
          assert.is_nil(p.HTTP_PROXY)
          assert.equal("memory_limit='128M'\nmemory_limit='1G'", p.PHP_VALUE)
          assert.equal("shop.test", p.SERVER_NAME)
          assert.same({ "127.0.0.1:9000" }, out.servers)
        end)
        it("responses", function()
          local out = route:respond({ url = "/app/x.php" }, 418, { ["set-cookie"] = "z", A = "b" })
          assert.equal(200, out.status)
          assert.same({ "a=1", "b=2" }, out.headers["set-cookie"])
          assert.equal("b", out.headers.a)
        end)
        it("what is refused", function()
          assert.equal(400, route:request({ url = "/a/../../b" }).status)
          assert.equal(400, route:request({ url = "/%zz" }).status)
          assert.equal(404, route:request({ url = "/files/x" }).status)
          assert.equal(403, route:request({ url = "/files/x.php" }).status)
          assert.equal(405, route:request({ url = "/files/x", method = "POST" }).status)
          local out = route:request { url = "/boom" }
          assert.equal(500, out.status)
          assert.matches("route.lua:6: attempt to perform arithmetic", out.error)
        end)
      ]],
    }))
    assert.equal("3 passed, 0 failed\n", result.stdout, result.stderr)
    assert.equal("", result.stderr)
  end)

  it("fails with file and line", function()
    local dir = folder({
      ["route.lua"] = "return { on_request = print }",
      ["checks/a_spec.lua"] = "describe('shop', function()\nit('a', function()\n"
        .. "assert.equal(1, 2) end)\nit('b', function() end) end)",
    })
    local result = run(dir, dir .. "/checks")
    assert.equal(1, result.code)
    assert.equal("1 passed, 1 failed\n", result.stdout)
    assert.truthy(result.stderr:find(dir .. "/checks/a_spec.lua:3: shop a: Expected", 1, true),
      result.stderr)
  end)

  -- A loop that is interpreted, one in a hook that a spec calls, one at the top; and calls that
  -- block, which nothing but the end of the process ends.
  for name, case in pairs({
    ["a spec"] = { "it('a', function()\n  while true do end end)", "spec/a_spec.lua:2: the specs" },
    ["a spec that catches all"] = {
      "it('a', function()\n  while true do pcall(error) end end)", "spec/a_spec.lua:2: the specs" },
    -- busted looks up each global of a spec by a function of its own; the line is the spec's.
    ["a library of the machine"] = {
      "local seq = require('pl.seq')\n"
        .. "it('a', function()\n  seq.foreach(os.clock, type) end)",
      "spec/a_spec.lua:3: the specs" },
    ["the top"] = { "\n\nlocal n = 0 while true do n = n + 1 end", "spec/a_spec.lua:3: the specs" },
    ["a hook"] = { "it('a', function()\n"
      .. "require('moongate.testing').load():request { url = '/loop' } end)",
      "route.lua:2: the specs" },
    ["a call that blocks"] = {
      "\nit('a', function() os.execute('exec sleep 30') end)", "spec/a_spec.lua:2: test (" },
    ["a hook that blocks"] = { "it('a', function()\n"
      .. "require('moongate.testing').load():request { url = '/' } end)",
      "route.lua:3: test (" },
  }) do
    it("comes to an end where this has none: " .. name, function()
      local dir = folder({
        ["route.lua"] = "return { on_request = function(req)\n"
          .. "  if req.path == '/loop' then while true do end end\n"
          .. "  os.execute('exec sleep 30') end }",
        ["spec/a_spec.lua"] = case[1],
      })
      local result
      for _, seconds in ipairs({ 2, 12 }) do -- more for a machine on which busted itself takes two
        result = run(dir, "--timeout", seconds .. "s")
        assert.equal(1, result.code)
        assert.truthy(result.stderr:find(("have not come to their end within %d s"):format(seconds),
          1, true), result.stderr)
        if result.stderr:find(dir .. "/" .. case[2], 1, true) then
          return
        end
      end
      error(result.stderr)
    end)
  end

  it("is never root", function()
    local dir = folder({
      ["route.lua"] = 'return { test = "checks", on_request = print }',
      ["checks/a_spec.lua"] = "it('a', function() local pipe = io.popen('id -u')\n"
        .. "assert.not_equal('0', pipe:read('*l')) pipe:close() end)",
    })
    local result = run(dir)
    assert.equal("1 passed, 0 failed\n", result.stdout, result.stderr)
  end)

  it("says what is wrong with the route", function()
    local dir = folder({ ["route.lua"] = "return {\ntest = 'none', on_request = print }" })
    local result = run(dir)
    assert.equal(1, result.code)
    assert.equal(("%s/route.lua:2: test: %s/none: it does not exist\n"):format(dir, dir),
      result.stderr)
  end)
end)
