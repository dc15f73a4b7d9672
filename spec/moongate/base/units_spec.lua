-- Specs of moongate.base.units.

local units = require("moongate.base.units")

describe("units.duration", function()
  it("takes seconds and units", function()
    for given, seconds in pairs({
      [5] = 5, [0] = 0, [0.25] = 0.25, ["250ms"] = 0.25, ["5s"] = 5, ["2m"] = 120, ["1h"] = 3600,
      ["1.5s"] = 1.5, ["0s"] = 0,
    }) do
      assert.near(seconds, units.duration(given), 1e-9)
    end
  end)

  it("refuses everything else", function()
    for _, given in ipairs({
      -1, math.huge, 0 / 0, "5", "5 s", "s", "-5s", "5S", "5d", "1h30m", "", "1..5s", true, {},
    }) do
      assert.is_nil(units.duration(given), tostring(given))
    end
    assert.is_nil(units.duration(nil))
  end)
end)

describe("units.size", function()
  it("takes bytes and units", function()
    for given, bytes in pairs({
      [0] = 0, [4096] = 4096, ["16k"] = 16384, ["16K"] = 16384, ["1M"] = 1048576,
      ["2G"] = 2147483648,
    }) do
      assert.equal(bytes, units.size(given))
    end
  end)

  it("refuses everything else", function()
    for _, given in ipairs({
      -1, 1.5, math.huge, 0 / 0, "16", "16kb", "k", "-1k", "1.5k", "", " 1k", true, {},
      "9999999999999G",
    }) do
      assert.is_nil(units.size(given), tostring(given))
    end
  end)
end)

describe("units.seconds and units.bytes", function()
  it("read texts as the functions do, remembered or not", function()
    for i = 1, 200 do
      assert.equal(i, units.seconds[i .. "s"])
      assert.equal(i * 1024, units.bytes[i .. "k"])
    end
    assert.equal(150, units.seconds["150s"])
    assert.is_false(units.seconds["5"])
    assert.is_false(units.bytes["5"])
    local kept = 0
    for _ in pairs(units.seconds) do
      kept = kept + 1
    end
    assert.equal(100, kept)
  end)
end)
