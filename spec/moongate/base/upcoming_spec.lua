-- Specs of moongate.base.upcoming.

local upcoming = require("moongate.base.upcoming")

describe("upcoming.problem", function()
  it("names a key that is not available", function()
    assert.equal("'http2' is not available in moongate 0.1 yet",
      upcoming.problem(upcoming.settings, "http2", {}))
  end)

  it("accepts the value that already holds", function()
    assert.is_nil(upcoming.problem(upcoming.decision, "role", "responder"))
    assert.is_nil(upcoming.problem(upcoming.listener, "protocol", "http"))
  end)

  it("leaves a wrong value to be called wrong", function()
    for _, case in ipairs({
      { "listener", "protocol", "htp" },
      { "decision", "role", "respnder" },
    }) do
      assert.is_nil(upcoming.problem(upcoming[case[1]], case[2], case[3]))
    end
  end)

  it("knows every other value of the contract", function()
    for _, case in ipairs({
      { "settings", "http2", true },
      { "backend", "cache", {} },
    }) do
      assert.is_string(upcoming.problem(upcoming[case[1]], case[2], case[3]))
    end
  end)

  it("says nothing about what is available", function()
    for _, case in ipairs({
      { "backend", "keepalive", 2 }, { "backend", "balance", "hash" }, { "backend", "health", {} },
      { "backend", "multiplex", true },
      { "decision", "ini", {} }, { "decision", "authorize", {} },
      { "decision", "role", "filter" }, { "decision", "role", "authorizer" },
      { "settings", "control", ":81" }, { "commands", "hold" },
      { "listener", "protocol", "fastcgi" },
      { "settings", "trusted_proxies", { "10.0.0.1" } }, { "listener", "proxy_protocol", true },
      { "backend", "nonsense", 2 }, { "settings", "watch", true }, { "settings", "test", "spec" },
      { "settings", "script_timeout", 2 }, { "commands", "reload" }, { "commands", "test" },
    }) do
      assert.is_nil(upcoming.problem(upcoming[case[1]], case[2], case[3]))
    end
    assert.is_nil(upcoming.module_problem("moongate.balance.hash"))
    assert.is_nil(upcoming.module_problem("moongate.testing"))
  end)
end)
