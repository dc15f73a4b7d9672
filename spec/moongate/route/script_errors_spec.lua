-- Specs of moongate.route.script_errors, through moongate.route.load.

local fake_fs = require("support.fs")
local load = require("moongate.route.load")
local req = require("support.req")

local function route(setting)
  return load.source(([[
    return {
      backends = { app = ":9000", spare = ":9001" },
      on_request = function() end,
      script_errors = %s,
    }
  ]]):format(setting), "route.lua", nil, fake_fs.new({}))
end

local function message_of(setting)
  local ok, message = pcall(route, setting)
  assert.is_false(ok, "accepted: " .. setting)
  return message
end

local SPARE = { backend = "spare" }

describe("script_errors", function()
  it("is fail, but for on_response, where nothing is said", function()
    local expected = { on_request = "fail", on_params = "fail", on_balance = "fail",
      on_response = "open", on_error = "fail" }
    assert.same(expected, route("nil").script_errors)
    expected.on_response = "fail"
    assert.same(expected, route('"fail"').script_errors)
  end)

  it("takes a decision for the hooks that run before a server has the request", function()
    assert.same({ on_request = SPARE, on_params = SPARE, on_balance = SPARE, on_response = "open",
      on_error = "fail" }, route('{ backend = "spare" }').script_errors)
  end)

  it("takes a value for each hook", function()
    assert.same({ on_request = SPARE, on_params = "open", on_balance = "fail",
      on_response = { status = 503 }, on_error = "open" }, route([[{
      on_request = { backend = "spare" }, on_params = "open", on_response = { status = 503 },
      on_error = "open" }]]).script_errors)
  end)

  it("completes its decisions by the path of the request", function()
    local settings = route('{ backend = "spare" }')
    assert.is_nil(settings.fallbacks.on_error)
    assert.same({ SPARE, "/x.php", "/y" }, { settings.fallbacks.on_request(req.get("/x.php/y")) })
  end)

  for setting, message in pairs({
    ['"closed"'] = [[expected "fail", "open" or a decision such as { backend = "app" }, got ]]
      .. [["closed"]],
    ["true"] = [[expected "fail", "open" or a decision such as { backend = "app" }, got true]],
    ['"open"'] = [["open" leaves nothing that says where a request goes whose on_request has ]]
      .. [[failed: name hooks, as in { on_request = { backend = "app" }, on_params = "open" }]],
    ['{ backend = "nobody" }'] = "there is no backend 'nobody'",
    ["{ close = true }"] = "close is no answer: name a backend, a file or a reply",
    ["{}"] = "an empty table",
    ['{ on_log = "open" }'] = "an error in on_log changes no answer",
    ['{ on_start = "open" }'] = "an error in on_start changes no answer",
    ['{ on_stderr = "open" }'] = "an error in on_stderr changes no answer",
    ['{ on_reqest = "fail" }'] = "unknown hook 'on_reqest'; did you mean 'on_request'?",
    ['{ on_request = "fail", backend = "app" }'] = "unknown hook 'backend'",
  }) do
    it("refuses " .. setting, function()
      local got = message_of(setting)
      assert.matches("^route.lua:4: script_errors", got)
      assert.is_truthy(got:find(message, 1, true), got)
    end)
  end

  it("says which hook a wrong value is of", function()
    assert.equal('route.lua:4: script_errors.on_params: expected "fail", "open" or a decision such '
      .. 'as { backend = "app" }, got 7', message_of("{ on_params = 7 }"))
    assert.equal('route.lua:4: script_errors.on_request: "open" leaves nothing that says where the '
      .. 'request goes: give a decision such as { backend = "app" }',
      message_of('{ on_request = "open" }'))
    assert.matches("^route.lua:4: script_errors.on_error: unknown key 'bakend'",
      message_of('{ on_error = { backend = "app", bakend = "x" } }'))
  end)
end)
