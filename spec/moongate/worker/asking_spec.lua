-- Specs of moongate.worker.asking.

local asking = require("moongate.worker.asking")
local ini = require("moongate.decision.ini")

describe("moongate.worker.asking", function()
  local ROUTE = { backends = { { name = "app", ini = ini.list({ memory_limit = "128M" }) } } }

  it("reads options", function()
    assert.same({ nil, nil, 0, false, false }, { asking.options({}, "app", ROUTE) })
    local problem, text, timeout, digest, last = asking.options(
      { timeout = "5s", digest = true, last = true, ini = { memory_limit = "64M" } }, "app", ROUTE)
    assert.is_nil(problem)
    assert.equal("memory_limit='128M'\nmemory_limit='64M'", text)
    assert.equal(5, timeout)
    assert.is_true(digest)
    assert.is_true(last)
    assert.is_nil((asking.options({ ini = {} }, "none", ROUTE))) -- the core says that there is none
  end)

  it("says what is wrong", function()
    for _, case in ipairs({
      { 5, 'expected a table of options such as { timeout = "5s" } as fourth argument, got 5' },
      { { timout = 1 }, "unknown key 'timout'; did you mean 'timeout'?" },
      { { timeout = 0 }, 'timeout: expected a duration such as 5, "250ms", "2m" or "1h", got 0' },
      { { digest = "md5" }, 'digest: expected true or false, got "md5"' },
      { { last = 1 }, "last: expected true or false, got 1" },
      { { ini = 5 }, 'ini: expected a table from setting to value such as { memory_limit = "128M" }'
        .. ", got 5" },
    }) do
      assert.equal(case[2], (asking.options(case[1], "app", ROUTE)))
    end
    assert.matches("^ini: 'max_execution_time' is not in the 'ini' of backend 'app', ",
      (asking.options({ ini = { max_execution_time = 5 } }, "app", ROUTE)))
  end)
end)
