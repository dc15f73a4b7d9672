-- Specs of moongate.route.locate.

local locate = require("moongate.route.locate")

describe("locate.line", function()
  local script = [==[
-- root = "in a comment"
--[[ listen = 1
listen = 2 ]]
local text = "listen = 3"
local php = require("moongate.php")

return {
  listen = ":8080",
  backends = {
    app = { root = "/a",
      keepalive = 1 },
    ["api-v2"] = {
      root = "/b",
    },
  },
  ['limits'] = { body = "1M" },
  root = "/c",
  on_request = function(req)
    local root = "/d"
    return root == req and {}
  end,
}
]==]

  it("finds keys of the returned table", function()
    assert.equal(8, locate.line(script, { "listen" }))
    assert.equal(9, locate.line(script, { "backends" }))
    assert.equal(16, locate.line(script, { "limits" }))
    assert.equal(18, locate.line(script, { "on_request" }))
  end)

  it("finds nested keys in the table of their parent", function()
    assert.equal(10, locate.line(script, { "backends", "app", "root" }))
    assert.equal(11, locate.line(script, { "backends", "app", "keepalive" }))
    assert.equal(13, locate.line(script, { "backends", "api-v2", "root" }))
    assert.equal(16, locate.line(script, { "limits", "body" }))
  end)

  it("does not take a nested key for one further up", function()
    assert.equal(17, locate.line(script, { "root" }))
  end)

  it("gives a missing key the line of its parent", function()
    assert.equal(12, locate.line(script, { "backends", "api-v2", "servers" }))
    assert.equal(7, locate.line(script, { "control" }))
    assert.equal(7, locate.line(script, {}))
  end)

  it("looks through list indexes", function()
    local listen = 'return {\n listen = {\n ":80",\n { address = ":81",\n backlog = 0 },\n },\n}'
    assert.equal(5, locate.line(listen, { "listen", 2, "backlog" }))
    assert.equal(2, locate.line(listen, { "listen", 1 }))
  end)

  it("finds what a script builds in locals", function()
    local built = "local app = {\n  keepalve = 1,\n}\nlocal route = { backends = { app = app } }\n"
      .. "route.listen = 5\nreturn route\n"
    assert.equal(2, locate.line(built, { "backends", "app", "keepalve" }))
    assert.equal(5, locate.line(built, { "listen" }))
    assert.equal(6, locate.line(built, { "nothing" }))
  end)

  it("takes a comparison for none", function()
    assert.equal(3, locate.line("local a = listen == 1\n\nreturn { listen = 1 }", { "listen" }))
  end)

  it("survives any text", function()
    for _, text in ipairs({ "", "return", "\"", "[[", "--[[", "'\\", "}}}))", "return {{", "a" }) do
      assert.equal(1, locate.line(text, { "listen", "x" }))
    end
  end)
end)
