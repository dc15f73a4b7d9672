-- docs/tuning.md shows what tests/bench/tuning.json has: its pictures and its table are those that
-- curves.lua makes.

local curves = require("tests.bench.curves")
local json = require("moongate.base.json")

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

describe("docs/tuning.md", function()
  local data = json.decode(read("tests/bench/tuning.json"))
  local text = read("docs/tuning.md")

  it("has the pictures of the figures", function()
    local count = 0
    for name, picture in pairs(curves.pictures(data)) do
      assert.equal(picture, read("docs/" .. name))
      assert.truthy(text:find("](" .. name .. ")", 1, true), name)
      count = count + 1
    end
    assert.equal(3, count)
  end)

  it("has the figures in its text", function()
    assert.equal(text, curves.page(text, data))
  end)

  it("says what the figures say", function()
    local by = {}
    for key, points in pairs(data) do
      for _, point in ipairs(key ~= "machine" and points or {}) do
        by[key .. point.x] = point
      end
    end
    -- Throughput grows with the children's use, and not beyond them; then the quiet site waits.
    assert.is_true(by.max_conns8.rate > 3 * by.max_conns1.rate)
    assert.is_true(by.max_conns64.rate < 1.3 * by.max_conns8.rate)
    assert.is_true(by.max_conns64.p99 > 2 * by.max_conns8.p99)
    assert.is_true(by.queue128.refused < by.queue1.refused)
    assert.is_true(by.queue128.p99 > by.queue1.p99)
    assert.is_true(by.keepalive8.cpu < by.keepalive0.cpu)
    assert.is_true(by.keepalive8.cpu_php < by.keepalive0.cpu_php)
    assert.is_true(by.children8.rate > 1.5 * by.children1.rate)
  end)
end)
