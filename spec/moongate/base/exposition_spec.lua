-- Specs of moongate.base.exposition.

local exposition = require("moongate.base.exposition")

describe("a page of metrics", function()
  local page
  before_each(function()
    page = exposition.page()
  end)

  it("has counters by the names that each format wants", function()
    local family = page:family("counter", "a_bytes", "Help with \\ and \"x\".")
    family:add(exposition.label("k", "v"), 3)
    family:add("", 0.5)
    assert.equal([[
# HELP a_bytes_total Help with \\ and "x".
# TYPE a_bytes_total counter
a_bytes_total{k="v"} 3
a_bytes_total 0.5
]], page:text())
    assert.equal([[
# HELP a_bytes Help with \\ and \"x\".
# TYPE a_bytes counter
# UNIT a_bytes bytes
a_bytes_total{k="v"} 3
a_bytes_total 0.5
# EOF
]], page:text(true))
  end)

  it("has histograms whose buckets add up", function()
    page:family("histogram", "h_seconds", "H."):histogram('a="b"', { 0.5, 1 }, { 2, 0, 5 }, 7.25)
    assert.equal([[
# HELP h_seconds H.
# TYPE h_seconds histogram
h_seconds_bucket{a="b",le="0.5"} 2
h_seconds_bucket{a="b",le="1.0"} 2
h_seconds_bucket{a="b",le="+Inf"} 7
h_seconds_sum{a="b"} 7.25
h_seconds_count{a="b"} 7
]], page:text())
  end)

  it("has no sample twice: counters add up, a gauge keeps the first", function()
    local counter = page:family("counter", "c", "C.")
    local gauge = page:family("gauge", "g", "G.")
    for i = 1, 2 do
      counter:add(exposition.label("t", i == 1 and "\255" or "\254"), i)
      gauge:add("", i)
    end
    assert.matches('\nc_total{t="\239\191\189"} 3\n', page:text(), 1, true)
    assert.matches("\ng 1\n$", page:text())
  end)

  it("leaves out families without a sample", function()
    page:family("gauge", "g", "G.")
    assert.equal("", page:text())
    assert.equal("# EOF\n", page:text(true))
  end)
end)

describe("labels and numbers", function()
  it("are escaped, and stay valid whatever they are made of", function()
    assert.equal([[a="\\ \" \n"]], exposition.label("a", '\\ " \n'))
    assert.equal('a="\239\191\189\239\191\189x\239\191\189"', exposition.label("a", "\0\rx\127"))
    assert.equal('a="größe"', exposition.label("a", "größe"))
    assert.equal('a="\239\191\189("', exposition.label("a", "\195("))
  end)

  it("are written as both formats read them", function()
    assert.equal("1234567890123", exposition.number(1234567890123))
    assert.equal("-3", exposition.number(-3))
    assert.equal("0.1", exposition.number(0.1))
    assert.equal("+Inf", exposition.number(math.huge))
    assert.equal("-Inf", exposition.number(-math.huge))
    assert.equal("NaN", exposition.number(0 / 0))
    assert.equal("1e+20", exposition.number(1e20))
    assert.equal("10.0", exposition.bound(10))
    assert.equal("0.0005", exposition.bound(0.0005))
  end)
end)

describe("the format", function()
  for accept, openmetrics in pairs({
    ["application/openmetrics-text"] = true,
    ["application/openmetrics-text; version=1.0.0; charset=utf-8"] = true,
    ["application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5"] = true,
    ["application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;"
      .. "q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"] = true,
    ["text/plain, application/openmetrics-text;q=0.5"] = false,
    ["application/openmetrics-text;q=0"] = false,
    ["application/openmetrics-text;version=2.0.0"] = false,
    ["text/plain;version=0.0.4"] = false,
    ["*/*"] = false,
    [""] = false,
  }) do
    it("for Accept: " .. accept, function()
      assert.equal(openmetrics, exposition.wants_openmetrics(accept))
    end)
  end

  it("without Accept is Prometheus' own", function()
    assert.is_false(exposition.wants_openmetrics(nil))
  end)
end)
