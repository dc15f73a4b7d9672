-- Specs of moongate.cli.sample.

local sample = require("moongate.cli.sample")

local function page(requests, failed, fast, slow)
  return ([[
# TYPE moongate_requests_total counter
moongate_requests_total{backend="app",tenant="a \"b\", c=\\",method="GET",code="2xx"} %d
moongate_requests_total{backend="app",tenant="",method="GET",code="5xx"} %d
moongate_request_duration_seconds_bucket{backend="app",le="0.01"} %d
moongate_request_duration_seconds_bucket{backend="app",le="0.1"} %d
moongate_request_duration_seconds_bucket{backend="app",le="+Inf"} %d
moongate_request_duration_seconds_sum{backend="app"} 1
moongate_server_state{backend="app",server="10.0.0.1:9000",state="up"} 0
moongate_server_state{backend="app",server="10.0.0.1:9000",state="failed"} 1
moongate_server_requests_total{backend="app",server="10.0.0.1:9000"} 7
moongate_server_queued_requests{backend="app",server="10.0.0.1:9000"} 3
moongate_script_runs_total{hook="on_request"} 4
moongate_script_seconds_total{hook="on_request"} 0.5
moongate_cache_requests_total{result="hit"} 6
moongate_cache_requests_total{result="miss"} 2
moongate_generation 3
nonsense{
]]):format(requests, failed, fast, slow, slow)
end

describe("a sample", function()
  it("has what a page says", function()
    local got = sample.read(page(5, 2, 3, 7), 100)
    assert.same({ ["2xx"] = 5, ["5xx"] = 2 }, got.codes)
    assert.same({ ['a "b", c=\\'] = 5 }, got.tenants)
    assert.same({ ['a "b", c=\\'] = 0 }, got.failing)
    assert.same({ ["app\t10.0.0.1:9000"] = "failed" }, got.states)
    assert.same({ ["app\t10.0.0.1:9000"] = 7 }, got.servers)
    assert.same({ ["app\t10.0.0.1:9000"] = 3 }, got.queued)
    assert.same({ on_request = { runs = 4, seconds = 0.5 } }, got.hooks)
    assert.same({ hit = 6, miss = 2 }, got.cached)
    assert.is_nil(got.scripts)
    local script = { script = "/a.php", seconds = 1 }
    assert.same({ ["/a.php"] = script }, sample.read("", 100, { script }).scripts)
  end)

  it("says how many a second there were since another", function()
    local before, now = sample.read(page(5, 2, 0, 0), 100), sample.read(page(25, 3, 0, 0), 110)
    assert.equal(2.1, sample.rate(now, before, "codes"))
    assert.equal(0.1, sample.rate(now, before, "codes", "5xx"))
    assert.equal(0, sample.rate(now, before, "codes", "4xx"))
    assert.is_nil(sample.rate(now, nil, "codes"))
    assert.is_nil(sample.rate(now, now, "codes"))
    before.at = 200 -- the clock was set back
    assert.is_nil(sample.rate(now, before, "codes"))
  end)

  it("says how long requests took", function()
    local before, now = sample.read(page(0, 0, 10, 10), 100), sample.read(page(0, 0, 60, 110), 110)
    assert.is_near(0.005, sample.percentile(now, before, 0.25), 1e-9)
    assert.is_near(0.01, sample.percentile(now, before, 0.5), 1e-9)
    assert.is_near(0.055, sample.percentile(now, before, 0.75), 1e-9)
    assert.is_nil(sample.percentile(now, now, 0.5))
    assert.is_nil(sample.percentile(sample.read("", 1), nil, 0.5))
  end)
end)
