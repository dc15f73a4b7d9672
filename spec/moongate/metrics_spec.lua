-- Specs of moongate.metrics, with a core whose memory is a table. Over workers and reloads:
-- tests/integration/71-metrics_spec.lua.

local loaded = require("support.loaded")

describe("moongate.metrics", function()
  local metrics, memory
  local registry = require("moongate.route.registry")
  local NAMES = { "moongate.core", "moongate.metrics" }

  --- As core/shm/metrics.c keeps it.
  local function new_core()
    memory = { families = {}, count = 0, values = {}, used = 0, lists = {} }
    local core = {}
    function core.metrics_family(text)
      if not memory.families[text] then
        memory.families[text] = memory.count
        memory.lists[memory.count] = {}
        memory.count = memory.count + 1
      end
      return memory.families[text]
    end
    function core.metrics_label(family, text, span, most)
      local list = memory.lists[family]
      for _, entry in ipairs(list) do
        if entry[1] == text then
          return entry[2]
        end
      end
      if #list >= most then
        return nil
      end
      list[#list + 1] = { text, memory.used }
      memory.used = memory.used + span
      return memory.used - span
    end
    function core.metrics_list(family)
      return memory.lists[family]
    end
    function core.metrics_add(at, by)
      memory.values[at] = (memory.values[at] or 0) + by
    end
    function core.metrics_set(at, to)
      memory.values[at] = to
    end
    function core.metrics_get(at)
      return memory.values[at] or 0
    end
    return core
  end

  before_each(function()
    loaded.forget(NAMES)
    package.loaded["moongate.core"] = new_core()
    metrics = require("moongate.metrics")
    registry.begin()
  end)
  after_each(function()
    registry.done()
    loaded.restore()
  end)

  it("count", function()
    local plain = metrics.counter("plain_total", { help = "H." })
    plain:inc()
    plain:inc(2.5)
    assert.equal(3.5, plain:value())
    local logins = metrics.counter("logins", { help = "H.", labels = { "result", "by" } })
    logins:inc(1, { result = "ok", by = 5 })
    logins:inc(2, { by = 5, result = "ok" })
    logins:inc(1, { result = "ok\0", by = "5" })
    assert.equal(3, logins:value({ result = "ok", by = 5 }))
    assert.same({ { values = { "ok", "5" }, numbers = { 3 } },
      { values = { "ok\1", "5" }, numbers = { 1 } } }, metrics.series(logins))
    assert.equal("plain", metrics.list()[1].name)
    assert.same({ { values = { "" }, numbers = { 3.5 } } }, metrics.series(plain))
  end)

  it("are set", function()
    local jobs = metrics.gauge("jobs", { help = "H." })
    jobs:set(7)
    jobs:inc(-2)
    assert.equal(5, jobs:value())
  end)

  it("observe", function()
    local h = metrics.histogram("h_seconds", { help = "H.", buckets = { 1, 2 }, labels = { "l" } })
    for _, value in ipairs({ 0, 1, 1.5, 9 }) do
      h:observe(value, { l = true })
    end
    assert.equal(4, h:value({ l = true }))
    assert.same({ { values = { "true" }, numbers = { 2, 1, 1, 11.5 } } }, metrics.series(h))
  end)

  it("go on where the same metric has been before", function()
    metrics.counter("c", { help = "H." }):inc(4)
    registry.begin()
    assert.equal(4, metrics.counter("c", { help = "Other words." }):value())
    registry.begin()
    assert.equal(0, metrics.counter("c", { help = "H.", labels = { "a" } }):value({ a = 1 }))
  end)

  it("have a bound, behind which they are others", function()
    local c = metrics.counter("c", { help = "H.", labels = { "host", "x" }, max_series = 2 })
    for i = 1, 5 do
      c:inc(1, { host = "h" .. i, x = "" })
    end
    assert.same({
      { values = { "other", "other" }, numbers = { 3 } },
      { values = { "h1", "" }, numbers = { 1 } }, { values = { "h2", "" }, numbers = { 1 } },
    }, metrics.series(c))
  end)

  it("cut long values, so that all have a place", function()
    local c = metrics.counter("c", { help = "H.", labels = { "a", "b", "c", "d", "e", "f", "g",
      "h" } })
    local long = ("x"):rep(1000)
    c:inc(1, { a = long, b = long, c = long, d = long, e = long, f = long, g = long, h = long })
    assert.is_true(#memory.lists[0][2][1] <= 500)
  end)

  describe("say what is wrong:", function()
    local counter, labelled, gauge, histogram
    before_each(function()
      counter = metrics.counter("some", { help = "H." })
      labelled = metrics.counter("labelled", { help = "H.", labels = { "result" } })
      gauge = metrics.gauge("level", { help = "H." })
      histogram = metrics.histogram("spread", { help = "H." })
    end)

    local H = { help = "H." }
    for name, case in pairs({
      ["a name"] = { function() metrics.counter("a-b", H) end,
        'metrics.counter: expected a name of letters, digits and _ such as "shop_logins", got' },
      ["no name"] = { function() metrics.gauge() end, "got nothing" },
      ["our name"] = { function() metrics.gauge("moongate_x", H) end, "are the server's own" },
      ["an ending"] = { function() metrics.gauge("x_total", H) end,
        "'x_total' may not end in _total, which counters have" },
      ["a part's ending"] = { function() metrics.counter("x_sum_total", H) end,
        "may not end in _sum, which parts of histograms have" },
      ["twice"] = { function() metrics.gauge("some", H) end,
        "metrics.gauge: there is a metric 'some' already, a counter" },
      ["no options"] = { function() metrics.counter("x") end, "expected a table such as" },
      ["no help"] = { function() metrics.counter("x", {}) end,
        "help: expected a sentence about the metric, got nothing" },
      ["an option"] = { function() metrics.counter("x", { help = "H.", label = {} }) end,
        'there is no option "label"; did you mean \'labels\'?' },
      ["labels"] = { function() metrics.counter("x", { help = "H.", labels = "a" }) end,
        "labels: expected a list of at most 8 names" },
      ["a label"] = { function() metrics.counter("x", { help = "H.", labels = { "a b" } }) end,
        "labels[1]: expected a name of letters" },
      ["le"] = { function() metrics.histogram("x", { help = "H.", labels = { "le" } }) end,
        "but le" },
      ["a label twice"] = {
        function() metrics.counter("x", { help = "H.", labels = { "a", "a" } }) end,
        "labels[2]: 'a' is there twice" },
      ["buckets"] = { function() metrics.histogram("x", { help = "H.", buckets = { 2, 1 } }) end,
        "buckets: expected a list of 1 to 32 rising numbers" },
      ["buckets of a gauge"] = { function() metrics.gauge("x", { help = "H.", buckets = {} }) end,
        "only a histogram has buckets" },
      ["max_series"] = { function() metrics.gauge("x", { help = "H.", max_series = 0 }) end,
        "max_series: expected a whole number from 1 to 1000, got 0" },
      ["inc"] = { function() counter:inc("1") end, "inc: expected a number, got" },
      ["no number"] = { function() counter:inc(0 / 0) end, "inc: expected a number" },
      ["less"] = { function() counter:inc(-1) end, "which never becomes less; got -1" },
      ["set of a counter"] = { function() counter:set(1) end, "only a gauge can be set" },
      ["inc of a histogram"] = { function() histogram:inc() end, "which has observe" },
      ["observe of a gauge"] = { function() gauge:observe(1) end, "only a histogram observes" },
      ["labels missing"] = { function() labelled:inc(1) end,
        'inc: expected the labels of \'labelled\' such as { result = "..." }, got nothing' },
      ["a label missing"] = { function() labelled:inc(1, {}) end,
        "the label 'result' of 'labelled': expected a text, got nothing" },
      ["a label too many"] = { function() labelled:inc(1, { result = "a", resilt = "b" }) end,
        'has no label "resilt"; did you mean \'result\'?' },
    }) do
      it(name, function()
        local ok, problem = pcall(case[1])
        assert.is_false(ok)
        assert.matches("^[^\n]*metrics_spec.lua:%d+: ", problem)
        assert.is_truthy(problem:find(case[2], 1, true), problem)
      end)
    end

    it("in a hook", function()
      registry.done()
      local ok, problem = pcall(function() return (metrics.counter("late", H)) end)
      assert.is_false(ok)
      assert.matches("metrics_spec.lua:%d+: metrics.counter: 'late': a metric is made while the "
        .. "route is loaded", problem)
    end)
  end)
end)
