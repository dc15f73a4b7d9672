-- script_errors: what a request gets when one of its hooks has raised an error, has returned what
-- can't be used, or has run for too long.

local http = require("tests.support.http")
local process = require("tests.support.process")
local rig = require("tests.support.rig")

local HOOKS = [[
  on_params = function(req, params)
    params.ADDED = "half"
    params.SERVER_SOFTWARE = nil
    if req.args.At == "params" then error("params raised") end
  end,
  on_balance = function(req, servers)
    if req.args.At == "balance" then error("balance raised") end
    if req.args.At == "odd" then return "no server" end
  end,
  on_response = function(req, res)
    if req.args.At == "response" then error("response raised") end
  end,
  on_error = function(req, err)
    if req.args.At == "error" then error("error raised") end
  end,
  script_errors = %s]]

local ON_REQUEST = [[
  local at = req.args.At
  if at == "request" then error("request raised") end
  if at == "wrong" then return { backend = "nobody" } end
  if at == "waited" then moongate.sleep(0.01) error("raised behind a wait") end
  if at == "spin" then while true do end end
  if at == "error" then return { backend = "gone", docroot = "/srv" } end
]]

--- A rig whose hooks fail where `at` of the query says.
local function start(script_errors, more)
  local options = {
    responder = { count = 2 },
    before = 'local moongate = require("moongate")\nrequire("jit").off(true, true)',
    backends = function(addresses)
      return ("spare = { servers = { %q }, docroot = '/srv/spare' }, "
        .. "gone = 'unix:/nobody/listens/there'"):format(addresses[2])
    end,
    servers = function(addresses)
      return ("%q, %q"):format(addresses[1], addresses[2])
    end,
    on_request = ON_REQUEST,
    settings = HOOKS:format(script_errors),
  }
  for key, value in pairs(more or {}) do
    options[key] = value
  end
  return rig.start(options)
end

local function get(r, at, commands)
  return r:get((commands and commands .. "&" or "") .. "At=" .. at)
end

describe("script_errors", function()
  it("is a 500 where nothing is said, but the answer of an application goes out", function()
    local r = start("nil")
    finally(function() r:stop() end)
    for _, at in ipairs({ "request", "wrong", "waited", "params", "balance", "odd", "error" }) do
      assert.equal(500, get(r, at).status, at)
    end
    assert.equal(200, get(r, "response").status)
    assert.equal(200, get(r, "none").status)
  end)

  it("fail withholds the answer of an application, too", function()
    local r = start('"fail"')
    finally(function() r:stop() end)
    local res = get(r, "response", "body=secret")
    assert.equal(500, res.status)
    assert.is_nil(res.body:find("secret", 1, true))
    assert.equal(200, get(r, "none").status)
  end)

  it("open goes on as though the hook were not there", function()
    local r = start([[{ on_params = "open", on_balance = "open", on_response = "open",
      on_error = "open" }]])
    finally(function() r:stop() end)
    local params = rig.params(get(r, "params", "dump"))
    assert.is_nil(params.ADDED) -- not the half of what the hook would have changed
    assert.matches("^moongate/", params.SERVER_SOFTWARE)
    assert.equal("half", rig.params(get(r, "none", "dump")).ADDED)
    for _, at in ipairs({ "balance", "odd", "response" }) do
      assert.equal(200, get(r, at).status, at)
    end
    assert.equal(503, get(r, "error").status) -- the failure's own status
    assert.equal(500, get(r, "request").status)
    for _, hook in ipairs({ "params", "balance", "response", "error" }) do
      r.server:wait_log("on_" .. hook .. " %(.-" .. hook .. " raised")
    end
  end)

  it("a decision takes the place of the hook's", function()
    local r = start('{ backend = "spare", headers = { ["X-Spare"] = "yes" } }')
    finally(function() r:stop() end)
    for _, at in ipairs({ "request", "wrong", "waited", "balance", "odd" }) do
      local res = get(r, at, "dump")
      assert.equal(200, res.status, at)
      assert.equal("yes", res.headers["x-spare"])
      assert.equal("/srv/spare/x.php", rig.params(res).SCRIPT_FILENAME)
    end
    assert.equal(500, get(r, "params").status) -- it fails for the second decision, too
    assert.equal(200, get(r, "response").status)
    local body = rig.pattern(100000)
    assert.equal(rig.sum(body), http.request(r.address, { method = "POST", body = body,
      path = "/x.php?sum&At=waited" }).body)
  end)

  it("a decision for each hook", function()
    local r = start([[{
      on_request = { status = 503, body = "decided" },
      on_params = { status = 503, body = "params" },
      on_response = { status = 502, body = "response" },
      on_error = { root = "/etc", path = "/hostname" },
    }]])
    finally(function() r:stop() end)
    assert.equal("decided", get(r, "request").body)
    assert.equal("params", get(r, "params").body)
    assert.equal("response", get(r, "response", "body=secret").body)
    local res = get(r, "error")
    assert.equal(503, res.status)
    assert.equal(process.read_file("/etc/hostname"), res.body)
    assert.equal(500, get(r, "balance").status)
  end)

  it("a hook without an end is one that fails", function()
    local r = start('{ backend = "spare" }', { settings = HOOKS:format('{ backend = "spare" }')
      .. ", script_timeout = 2" })
    finally(function() r:stop() end)
    local res = get(r, "spin", "dump")
    assert.equal(200, res.status)
    assert.equal("/srv/spare/x.php", rig.params(res).SCRIPT_FILENAME)
    r.server:wait_log("script_timeout: it has run for too long")
  end)

  it("never lets a request past its authorizer", function()
    local r = start('{ backend = "spare" }', { on_request = [[
      do return { backend = "app", docroot = "/srv", authorize = { backend = "spare" } } end]] })
    finally(function() r:stop() end)
    assert.equal(500, get(r, "params").status)
  end)
end)
