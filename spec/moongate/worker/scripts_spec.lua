-- Specs of moongate.worker.scripts.

local scripts = require("moongate.worker.scripts")

local function script(name, requests, seconds, errors)
  return {
    script = name, requests = requests, seconds = seconds, errors = errors or 0, messages = 1,
  }
end

local function list(entries, others)
  others = others or { requests = 0, seconds = 0, errors = 0, messages = 0 }
  return scripts.list({ scripts = function() return entries, others end })
end

describe("scripts of applications", function()
  it("are one over all places, those with the most time first", function()
    local found = list({
      script("/a", 1, 0.5), script("/b", 2, 3, 1), script("/a", 4, 4, 2), script("/c", 1, 3),
    })
    assert.same({
      { script = "/a", requests = 5, seconds = 4.5, errors = 2, messages = 2 },
      script("/b", 2, 3, 1), script("/c", 1, 3),
    }, { unpack(found) })
  end)

  it("are those with the most time, and with the most errors; others are summed", function()
    local entries = {}
    for i = 1, 200 do
      entries[i] = script(("/%03d"):format(i), 1, 201 - i, i > 190 and 200 - i or 0)
    end
    local found, others = list(entries, { requests = 7, seconds = 1, errors = 3, messages = 0 })
    local names = {}
    for i, one in ipairs(found) do
      names[i] = one.script
    end
    -- The last one of all has no error: it is in the sums.
    assert.equal(scripts.MOST + 9, #found)
    assert.same({ "/001", "/050", "/191", "/199" }, { names[1], names[50], names[51], names[59] })
    assert.same({ requests = 7 + 141, errors = 3, messages = 141 },
      { requests = others.requests, errors = others.errors, messages = others.messages })
    local seconds = 1
    for i = 51, 200 do
      seconds = seconds + ((i < 191 or i == 200) and 201 - i or 0)
    end
    assert.equal(seconds, others.seconds)
  end)

  it("are none at first", function()
    local found, others = list({})
    assert.same({}, { unpack(found) })
    assert.equal(0, others.requests)
  end)
end)
