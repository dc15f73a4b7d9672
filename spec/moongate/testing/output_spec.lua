-- Specs of moongate.testing.output.

local output = require("moongate.testing.output")

describe("results of specs", function()
  local result = {
    passed = 1, skipped = 1, failed = { "/a_spec.lua:3: b c: no" },
    cases = {
      { name = 'a "<b>" & c', file = "/a_spec.lua", status = "passed", seconds = 0.25 },
      { name = "b\nc #1", file = "/a_spec.lua", status = "failed", seconds = 0.5,
        message = "/a_spec.lua:3: b c: no\nand \1 more" },
      { name = "d", file = "/b_spec.lua", status = "skipped", seconds = 0 },
    },
  }

  it("are said in words", function()
    assert.equal("1 passed, 1 failed, 1 not run\n", output.words(result))
    assert.equal("0 passed, 0 failed\n", output.words({ passed = 0, skipped = 0, failed = {} }))
  end)

  it("are printed as TAP", function()
    assert.equal(table.concat({
      "TAP version 13", "1..3", 'ok 1 - a "<b>" & c', "not ok 2 - b c \\#1",
      "# /a_spec.lua:3: b c: no", "# and \1 more", "ok 3 - d # SKIP", "",
    }, "\n"), output.tap(result))
  end)

  it("are printed as JUnit's XML", function()
    assert.equal([[
<?xml version="1.0" encoding="UTF-8"?>
<testsuites>
  <testsuite name="/a_spec.lua" tests="2" failures="1" skipped="0" time="0.750">
    <testcase classname="/a_spec.lua" name="a &quot;&lt;b&gt;&quot; &amp; c" time="0.250"/>
    <testcase classname="/a_spec.lua" name="b
c #1" time="0.500">
      <failure message="/a_spec.lua:3: b c: no">/a_spec.lua:3: b c: no
and ? more</failure>
    </testcase>
  </testsuite>
  <testsuite name="/b_spec.lua" tests="1" failures="0" skipped="1" time="0.000">
    <testcase classname="/b_spec.lua" name="d" time="0.000">
      <skipped/>
    </testcase>
  </testsuite>
</testsuites>
]], output.junit(result))
  end)
end)
