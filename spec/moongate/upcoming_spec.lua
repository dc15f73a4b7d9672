-- Specs of moongate.upcoming.

local upcoming = require("moongate.upcoming")

describe("upcoming.problem", function()
  it("names a key that is not available", function()
    assert.equal("'health' is not available in moongate 0.1 yet",
      upcoming.problem(upcoming.backend, "health", {}))
  end)

  it("accepts the value that already holds", function()
    assert.is_nil(upcoming.problem(upcoming.backend, "balance", "round_robin"))
    assert.is_nil(upcoming.problem(upcoming.server, "weight", 1))
    assert.is_nil(upcoming.problem(upcoming.listener, "proxy_protocol", false))
  end)

  it("names another value of such a key", function()
    assert.equal("'balance = \"hash\"' is not available in moongate 0.1 yet",
      upcoming.problem(upcoming.backend, "balance", "hash"))
    assert.equal("'weight = 2' is not available in moongate 0.1 yet",
      upcoming.problem(upcoming.server, "weight", 2))
  end)

  it("leaves a wrong value to be called wrong", function()
    for _, case in ipairs({
      { "listener", "protocol", "htp" }, { "listener", "proxy_protocol", "yes" },
      { "backend", "balance", "hsh" }, { "backend", "load", "stats" },
      { "backend", "multiplex", 1 }, { "backend", "slow_start", "soon" },
      { "decision", "role", "respnder" }, { "limits", "per_ip", -1 },
      { "settings", "trusted_proxies", 1 }, { "settings", "control", "x" },
    }) do
      assert.is_nil(upcoming.problem(upcoming[case[1]], case[2], case[3]))
    end
  end)

  it("knows every other value of the contract", function()
    for _, case in ipairs({
      { "listener", "protocol", "fastcgi" }, { "listener", "proxy_protocol", true },
      { "backend", "balance", "p2c" }, { "backend", "balance", print },
      { "backend", "load", "status" }, { "backend", "multiplex", "auto" },
      { "backend", "slow_start", "5s" }, { "decision", "role", "filter" },
      { "settings", "trusted_proxies", { "10.0.0.1" } }, { "settings", "control", ":81" },
      { "options", "control", "unix:/x" },
    }) do
      assert.is_string(upcoming.problem(upcoming[case[1]], case[2], case[3]))
    end
  end)

  it("says nothing about other keys", function()
    assert.is_nil(upcoming.problem(upcoming.backend, "keepalive", 2))
    assert.is_nil(upcoming.problem(upcoming.backend, "nonsense", 2))
  end)
end)
