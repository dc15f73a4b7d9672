-- Specs of ngx, with a moongate of their own: what it asks of that, and how. What waits is in
-- tests/integration/62-resty_spec.lua.

describe("ngx", function()
  local moongate, core, ngx, spawned, loaders

  before_each(function()
    spawned = {}
    core = { tcp_methods = {}, null = setmetatable({}, {
      __tostring = function()
        return "null"
      end,
    }) }
    moongate = { lines = {}, time = 100.75 }
    function moongate.log(level, format, ...)
      table.insert(moongate.lines, level .. ": " .. format:format(...))
    end
    function moongate.now()
      return moongate.time
    end
    function moongate.escape(text)
      return "<" .. text .. ">"
    end
    function moongate.unescape(text)
      return "[" .. text .. "]"
    end
    function moongate.spawn(fn, ...)
      local args = { ... }
      spawned[#spawned + 1] = function()
        coroutine.wrap(fn)(unpack(args))
      end
    end
    function moongate.every(seconds, fn)
      spawned[#spawned + 1] = function()
        coroutine.wrap(fn)(seconds)
      end
    end
    function core.base64(text)
      return "<" .. text .. "==>"
    end
    function core.worker()
      return { index = 2, count = 4, pid = 99 }
    end
    function moongate.shared(name)
      return { name = name }
    end
    loaders = #package.loaders
    package.loaded["moongate.core"], package.loaded.moongate = core, moongate
    package.loaded.ngx, package.loaded["moongate.ngx.regex"] = nil, nil
    package.loaded["moongate.hash"] = nil
    ngx = require("ngx")
  end)

  after_each(function()
    for _, name in ipairs({ "moongate.core", "moongate", "moongate.hash", "moongate.ngx.missing",
      "moongate.ngx.regex", "ngx" }) do
      package.loaded[name] = nil
    end
    rawset(_G, "ngx", nil)
    package.loaders[loaders + 1] = nil
  end)

  it("is a global for those who expect one", function()
    assert.equal(ngx, rawget(_G, "ngx"))
    assert.is_nil(ngx.no_such_name)
  end)

  it("takes texts and numbers", function()
    assert.equal("<5>", ngx.escape_uri(5))
    assert.equal("[a b%20]", ngx.unescape_uri("a+b%20"))
    assert.equal("<5==>", ngx.encode_base64(5))
  end)

  it("tells the time", function()
    assert.equal(100.75, ngx.now())
    assert.equal(100, ngx.time())
    assert.equal("1970-01-01 00:01:40", ngx.utctime())
    assert.equal(ngx.localtime():sub(1, 10), ngx.today())
    assert.matches("^%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:40$", ngx.localtime())
    assert.equal("Thu, 18 Nov 2010 11:27:35 GMT", ngx.http_time(1290079655))
    assert.equal("Thu, 18-Nov-10 11:27:35 GMT", ngx.cookie_time(1290079655))
    assert.equal("Tue, 19-Jan-2038 03:14:07 GMT", ngx.cookie_time(2147483647))
  end)

  it("has the numbers of statuses and methods", function()
    assert.same({ 200, 403, 444, 503 }, { ngx.HTTP_OK, ngx.HTTP_FORBIDDEN, ngx.HTTP_CLOSE,
      ngx.HTTP_SERVICE_UNAVAILABLE })
    assert.same({ 2, 8, 512, 32768 }, { ngx.HTTP_GET, ngx.HTTP_POST, ngx.HTTP_OPTIONS,
      ngx.HTTP_TRACE })
  end)

  it("logs, with the place", function()
    ngx.log(ngx.NOTICE, "a", 1, nil, false, ngx.null)
    ngx.log(ngx.EMERG, "100%")
    assert.matches("^info: .*ngx_spec.lua:%d+: a1nilfalsenull$", moongate.lines[1])
    assert.matches("^error: .*: 100%%$", moongate.lines[2])
    for level, message in pairs({ [99] = "unknown level '99'", err = "unknown level 'err'" }) do
      local ok, problem = pcall(ngx.log, level, "x")
      assert.is_false(ok)
      assert.matches(message, problem)
    end
    local ok, problem = pcall(ngx.log, ngx.ERR, {})
    assert.is_false(ok)
    assert.matches("got table", problem)
  end)

  it("counts workers from 0", function()
    assert.same({ 1, 4, 99 }, { ngx.worker.id(), ngx.worker.count(), ngx.worker.pid() })
  end)

  it("has the dictionaries that are asked for, each once", function()
    assert.equal("cache", ngx.shared.cache.name)
    assert.equal(ngx.shared.cache, ngx.shared.cache)
  end)

  it("runs timers with their phase", function()
    local calls = {}
    local function note(...)
      calls[#calls + 1] = { ngx.get_phase(), ... }
    end
    core.retired = function()
      return false
    end
    core.sleep_until_retired = function(delay)
      return delay == 7
    end
    assert.is_true(ngx.timer.at(0, note, "x"))
    assert.is_true(ngx.timer.at(7, note))
    assert.is_true(ngx.timer.every(1, note, "y", nil, "z"))
    for _, run in ipairs(spawned) do
      run()
    end
    assert.same({ { "timer", false, "x" }, { "timer", true }, { "timer", false, "y", nil, "z" } },
      calls)
    coroutine.wrap(note)()
    assert.equal("access", calls[4][1])
    assert.is_false((pcall(ngx.timer.at, "soon", note)))
    core.retired = function()
      return true
    end
    assert.same({ nil, "process exiting" }, { ngx.timer.at(0, note) })
  end)

  it("finds libraries by both of their names", function()
    local path = package.path
    finally(function()
      package.path = path
      package.loaded["resty.made"] = nil
    end)
    local folder = require("support.folder")
    local dir = folder.new("nginx")
    folder.write(dir .. "/nginx/made.lua", "return { name = ... or 'none' }")
    package.path = dir .. "/?.lua;" .. path
    assert.equal("resty.made", require("resty.made").name)
    assert.is_false((pcall(require, "resty.not_made")))
    folder.remove(dir)
  end)
end)
