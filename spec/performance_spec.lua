-- docs/performance.md shows what tests/bench/results.json holds, and nothing that was not measured.

local json = require("moongate.base.json")
local page = require("tests.bench.page")

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

describe("docs/performance.md", function()
  local data = assert(json.decode(read("tests/bench/results.json")))
  local text = read("docs/performance.md")

  it("has the figures of tests/bench/results.json", function()
    assert.equal(page.put(text, data), text)
  end)

  it("has their chart", function()
    assert.equal(page.svg(data), read("docs/performance.svg"))
  end)

  it("has a commit for each figure", function()
    local count = 0
    for name, case in pairs(data.cases) do
      assert.matches("^%x+", case.commit, name)
      assert.is_truthy(case.peers.moongate, name)
      for peer, figures in pairs(case.peers) do
        assert.is_true(figures.cpu > 0 and figures.rate > 0, name .. ", " .. peer)
        count = count + 1
      end
    end
    assert.is_true(count > 0)
  end)
end)

describe("the page's part", function()
  local function one(commit)
    return {
      order = { "nginx", "haproxy", "moongate" }, case_order = { "tiny", "static", "never" },
      titles = { nginx = "nginx", haproxy = "HAProxy", moongate = "Moongate" },
      versions = { nginx = "1.22" },
      machine = { cores = 2, kernel = "6.1", date = "2026-01-01" },
      instructions = { tiny = { commit = "bbbbbbb", peers = { moongate = 21345 } } },
      cases = {
        tiny = { name = "tiny", title = "tiny GET", commit = commit, load = 1.5, rounds = 3,
          seconds = 1, absent = { haproxy = "serves no files" },
          peers = {
            nginx = { cpu = 30, rate = 12345, p50 = 1, p99 = 2, p999 = 3, memory = 5, failed = 0 },
            moongate = { cpu = 15, ratio = 0.5, low = 0.4, high = 0.6, rate = 20000, p50 = 1,
              p99 = 2, p999 = 3, memory = 5, failed = 1, calls = 4.1,
              by_call = { read = 2, write = 2, epoll_wait = 0.1, futex = 0.001 } },
          } },
      },
    }
  end

  it("has a row for each server, and why another has none", function()
    local part = page.part(one("aaaaaaa"))
    assert.is_truthy(part:find("| Moongate | 15.0 | 0.50 (0.40 to 0.60) | 20,000 | 1.0 | 2.0 | "
      .. "3.0 | 5.0 | 21,345, bbbbbbb | 1 | 4.1: read 2.0, write 2.0, epoll_wait 0.1 | aaaaaaa |",
      1, true), part)
    assert.is_truthy(part:find("not: HAProxy serves no files", 1, true))
    assert.is_nil(part:find("static", 1, true))
  end)

  it("replaces the one before, and nothing else", function()
    local before = page.put("a\n" .. page.part(one("aaaaaaa")) .. "b\n", one("ccccccc"))
    assert.equal("a\n" .. page.part(one("ccccccc")) .. "b\n", before)
    assert.has_error(function() page.put("no marks", one("aaaaaaa")) end)
  end)
end)
