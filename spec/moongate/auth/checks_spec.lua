-- Specs of moongate.auth.checks: who waits behind whom.

local loaded = require("support.loaded")

describe("moongate.auth.checks", function()
  local checks, spawned, order, answers
  local NAMES = { "moongate", "moongate.core", "moongate.auth.checks" }

  before_each(function()
    loaded.forget(NAMES)
    spawned, order, answers = nil, {}, {}
    package.loaded["moongate"] = { spawn = function(fn) spawned = coroutine.wrap(fn) end }
    package.loaded["moongate.core"] = {
      password_fits = function(password)
        order[#order + 1] = password
        coroutine.yield()
        if password == "bad" then
          return nil, "Cannot allocate memory"
        elseif password == "worse" then
          error("wrong use")
        end
        return password == "right"
      end,
    }
    checks = require("moongate.auth.checks")
  end)
  after_each(loaded.restore)

  local function add(password, suspect)
    local check = { password = password, hash = "h", gates = {} }
    function check:finish()
      answers[password] = tostring(self.right)
        .. (self.problem and " " .. self.problem:gsub("^.-: ", "") or "")
    end
    return checks.add(check, suspect)
  end

  it("does one after the other, suspects last", function()
    assert.is_true(add("guess1", true))
    spawned()
    assert.is_true(add("guess2", true))
    assert.is_true(add("right", false))
    assert.is_true(add("wrong", false))
    for _ = 1, 4 do
      spawned()
    end
    assert.same({ "guess1", "right", "wrong", "guess2" }, order)
    assert.same({ guess1 = "false", guess2 = "false", right = "true", wrong = "false" }, answers)
    assert.is_true(add("right", false)) -- it begins anew
    spawned()
    assert.equal(5, #order)
  end)

  it("goes on after one that could not be done", function()
    add("bad", false)
    add("worse", false)
    add("right", false)
    for _ = 1, 4 do
      spawned()
    end
    assert.same({ bad = "nil Cannot allocate memory", worse = "nil wrong use", right = "true" },
      answers)
  end)

  it("lets a bounded number wait", function()
    local fresh, suspects = 0, 0
    for _ = 1, 500 do
      fresh = fresh + (add("right", false) and 1 or 0)
      suspects = suspects + (add("wrong", true) and 1 or 0)
    end
    assert.same({ 100, 30 }, { fresh, suspects })
  end)
end)
