-- OpenResty's client libraries as Debian packs them, unchanged, against real servers; and the rest
-- of `ngx`.

local dns = require("tests.support.dns")
local http = require("tests.support.http")
local lab = require("tests.support.lab")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local socket = require("socket")
local store = require("tests.support.store")

local l, redis, memcached, names, at_rest

-- Runs code in which REDIS and its like stand for the servers' ports.
local function run(text)
  return l:run((text:gsub("%u%u+", {
    REDIS = tostring(redis.port), UNIX = redis.unix, MEMCACHED = tostring(memcached.port),
    DNS = names.address:match("%d+$"),
  })))
end

setup(function()
  redis, memcached = store.redis(), store.memcached()
  names = dns.start({
    ["app.test"] = { "127.0.0.2", "127.0.0.3" }, ["six.test"] = { "fd00::1:0:0:2" },
  })
  l = lab.start({
    env = { LUA_PATH = store.lua_path() },
    before = [[
      require("ngx")
      package.loaded.got = { redis = require("nginx.redis"), memcached = require("resty.memcached"),
        resolver = require("nginx.dns.resolver") }
    ]],
  })
  at_rest = l:sockets()
end)

teardown(function()
  l:stop()
  redis:stop()
  memcached:stop()
  names:stop()
end)

local REDIS = [[local r = require("got").redis:new() r:set_timeout(5000)
  assert(r:connect("127.0.0.1", REDIS)) ]]

describe("lua-resty-redis", function()
  it("sets, gets, counts, and shows what is not there", function()
    assert.equal('"OK", "two words", 1, 11, true, 2', run(REDIS .. [[
      return r:set("a", "two words"), r:get("a"), r:incr("n"), r:incrby("n", 10),
        r:get("nothing") == ngx.null, r:del("a", "n")]]))
  end)

  it("keeps bytes as they are, a lot of them too", function()
    assert.equal('"OK", true, "OK", true', run(REDIS .. [[
      local all = {}
      for i = 0, 255 do all[i + 1] = string.char(i) end
      local bytes = table.concat(all)
      local a, b = r:set("bytes", bytes), r:get("bytes") == bytes
      local long = bytes:rep(16384)
      return a, b, r:set("long", long), r:get("long") == long]]))
  end)

  it("shows the server's errors", function()
    assert.matches('^false, "ERR unknown command', run(REDIS .. [[return r:nonsense(1)]]))
    assert.matches('^false, "WRONGTYPE', run(REDIS .. [[
      r:del("list") r:rpush("list", 1) return r:incr("list")]]))
  end)

  it("has hashes, lists, scripts and transactions", function()
    assert.equal('"OK", {"1", "2"}, {"x", "y"}, {1, {"deep", 2}}, "OK", {"OK", 2}', run(REDIS .. [[
      r:del("hash", "items")
      local a = r:hmset("hash", { p = 1, q = 2 })
      r:rpush("items", "x", "y")
      local b, c = r:hmget("hash", "p", "q"), r:lrange("items", 0, -1)
      local d = r:eval("return {1, {'deep', 2}}", 0)
      local e = r:multi()
      r:set("t", 1)
      r:incr("t")
      return a, b, c, d, e, r:exec()]]))
  end)

  it("sends a pipeline", function()
    assert.equal('100, "OK", 99, {false, "ERR value is not an integer or out of range"}',
      run(REDIS .. [[
        r:del("p", "q")
        r:init_pipeline()
        r:set("p", "x")
        for i = 1, 98 do r:incr("q") end
        r:incr("p")
        local all = r:commit_pipeline()
        r:init_pipeline() r:incr("q")
        return #all, all[1], r:commit_pipeline()[1], all[100] ]]))
  end)

  it("hears what is published", function()
    assert.equal('{"subscribe", "news", 1}, {"message", "news", "hello"}, '
      .. '{"unsubscribe", "news", 0}, nil', run(REDIS .. [[
      local a = r:subscribe("news")
      moongate.spawn(function()
        local other = require("got").redis:new()
        other:connect("UNIX")
        other:publish("news", "hello")
        other:close()
      end)
      local b = r:read_reply()
      return a, b, r:unsubscribe("news")]]))
  end)

  it("takes the time it is given, and uses connections again", function()
    assert.equal('nil, "timeout"', run(REDIS .. [[r:set_timeout(100) return r:blpop("never", 0)]]))
    assert.equal("0, 1, 1, 2", run([[
      local list = {}
      for i = 1, 2 do
        local r = require("got").redis:new()
        r:connect("UNIX", { pool = "mine" })
        list[#list + 1] = r:get_reused_times()
        r:set_keepalive(10000, 10)
        r = require("got").redis:new()
        r:connect("UNIX", { pool = "mine" })
        list[#list + 1] = r:get_reused_times()
        if i == 1 then r:set_keepalive(10000, 10) end
        if i == 1 then list[#list + 1] = 1 end
      end
      return list[1], list[2], list[3], list[4] ]]))
  end)

  it("serves many at a time", function()
    run(REDIS .. [[r:del("count")]])
    local clients = {}
    for i = 1, 50 do
      clients[i] = l:begin(REDIS:gsub("REDIS", tostring(redis.port)) .. [[
        for i = 1, 20 do r:incr("count") end r:set_keepalive(1000, 50) return 1]])
    end
    for _, client in ipairs(clients) do
      assert.equal("1", l:finish(client))
    end
    assert.equal('"1000"', run(REDIS .. [[return r:get("count")]]))
  end)
end)

it("whatever is going on when clients leave, nothing stays behind", function()
  local texts = {
    [[local R = require("got").resolver
      local r = R:new({ nameservers = { { "127.0.0.1", DNS } } })
      return r:query("app.test")[1].address]],
    REDIS .. [[return r:blpop("never" .. math.random(9), 1)]],
    REDIS .. [[for i = 1, 50 do r:set("x", ("y"):rep(i * 5000)) r:get("x") end return 1]],
    REDIS .. [[ngx.thread.spawn(function() ngx.sleep(0.01) r:incr("z") end)
      return ngx.thread.wait(ngx.thread.spawn(function() return r:blpop("none", 1) end))]],
    [[local m = require("got").memcached:new() m:connect("127.0.0.1", MEMCACHED)
      for i = 1, 50 do m:set("k" .. i, ("v"):rep(20000)) end m:set_keepalive(300, 4) return 1]],
  }
  for i = 1, 150 do
    local client = l:begin((texts[i % #texts + 1]:gsub("%u%u+", {
      REDIS = tostring(redis.port), MEMCACHED = tostring(memcached.port),
      DNS = names.address:match("%d+$"),
    })))
    socket.sleep((i * 7 % 16) / 1000) -- where it is caught does not matter, only that it varies
    client.conn:reset()
    if i % 50 == 0 then
      l.server.process:kill("HUP")
    end
  end
  l:collect(at_rest) -- the threads go on without their request, for a second
  assert.equal('"OK"', run(REDIS .. [[return r:set("after", 1)]]))
end)

describe("lua-resty-memcached", function()
  local OPEN = [[local m = require("got").memcached:new() m:set_timeout(5000)
    assert(m:connect("127.0.0.1", MEMCACHED)) ]]

  it("keeps values", function()
    assert.equal('1, "v w", "7", nil, nil, "NOT_STORED", 1, "8", 1, nil', run(OPEN .. [[
      m:flush_all()
      local a = m:set("key with spaces", "v w", 0, 7)
      local b, c = m:get("key with spaces")
      local d = m:get("other")
      local e, f = m:add("key with spaces", "x")
      local g = m:set("n", "7")
      local h = m:incr("n", 1)
      local i = m:delete("n")
      return a, b, c, d, e, f, g, h, i, (m:get("n"))]]))
  end)

  it("gets several, and swaps", function()
    assert.equal('"1", "2", nil, 1, nil, "EXISTS"', run(OPEN .. [[
      m:set("a", 1) m:set("b", 2)
      local all = m:get({ "a", "b", "c" })
      local value, flags, cas = m:gets("a")
      local one = m:cas("a", "new", cas)
      local two, err = m:cas("a", "newer", cas)
      return all.a[1], all.b[1], all.c, one, two, err]]))
  end)

  it("uses connections again", function()
    assert.equal("1", run(OPEN .. [[m:set_keepalive(1000, 5)
      m = require("got").memcached:new() m:connect("127.0.0.1", MEMCACHED)
      return m:get_reused_times()]]))
  end)
end)

describe("lua-resty-dns", function()
  local OPEN = [[local R = require("got").resolver
    local servers = { { "127.0.0.1", DNS } }
    local r = assert(R:new({ nameservers = servers, retrans = 2, timeout = 500 })) ]]

  it("asks by UDP", function()
    local got = run(OPEN .. [[local all = r:query("app.test")
      local list = {}
      for i, answer in ipairs(all) do list[i] = answer.address end
      table.sort(list)
      return list, all[1].name]])
    assert.equal('{"127.0.0.2", "127.0.0.3"}, "app.test"', got)
  end)

  it("asks by TCP", function()
    assert.matches('^"127%.0%.0%.[23]"$', run(OPEN .. [[
      return r:tcp_query("app.test", { qtype = R.TYPE_A })[1].address]]))
  end)

  it("writes addresses of IPv6, backwards too", function()
    assert.equal('"fd00:0:0:0:1:0:0:2"', run(OPEN .. [[
      return r:query("six.test", { qtype = R.TYPE_AAAA })[1].address]]))
    assert.equal('"fd00::1:0:0:2", "fd00:0:0:0:1:0:0:2", "4.3.2.1.in-addr.arpa"', run(OPEN .. [[
      return R.compress_ipv6_addr("fd00:0:0:0:1:0:0:2"), R.expand_ipv6_addr("fd00::1:0:0:2"),
        (R.arpa_str("1.2.3.4"))]]))
  end)

  it("shows errors, and that nobody answers", function()
    assert.equal('3, "name error"', run(OPEN .. [[
      local all = r:query("gone.test") return all.errcode, all.errstr]]))
    names:silence(true)
    assert.matches('nil, ".*timeout"', run(OPEN:gsub("timeout = 500", "timeout = 50")
      .. [[return (r:query("other.test")), select(2, r:query("other.test"))]]))
    names:silence(false)
  end)
end)

describe("ngx", function()
  it("has codecs", function()
    assert.equal('"a%20b%2Fc~", "a b c%zz", "aGVsbG8=", "aGVsbG8", "hello", "hello", nil, "", ""',
      run([[return ngx.escape_uri("a b/c~"), ngx.unescape_uri("a+b%20c%zz"),
        ngx.encode_base64("hello"), ngx.encode_base64("hello", true), ngx.decode_base64("aGVsbG8="),
        ngx.decode_base64("aGVsbG8"), ngx.decode_base64("a*=="), ngx.encode_base64(""),
        ngx.decode_base64("")]]))
    assert.equal("true", run([[
      for n = 0, 80 do
        local s = ("\0\255\128abc"):rep(20):sub(1, n)
        assert(ngx.decode_base64(ngx.encode_base64(s)) == s)
        assert(ngx.decode_base64(ngx.encode_base64(s, true)) == s)
      end
      return true]]))
  end)

  it("has the time", function()
    assert.equal("true, true, true, 0", run([[
      local a, b = ngx.now(), ngx.time()
      return math.abs(a - moongate.now()) < 1, b == math.floor(b), a - b < 2,
        select('#', ngx.update_time())]]))
    assert.equal("true", run([[local a = ngx.now() ngx.sleep(0.05) return ngx.now() - a >= 0.045]]))
  end)

  it("writes to the log", function()
    run([[ngx.log(ngx.ERR, "one ", 2, " ", nil, " ", true, " ", ngx.null)
      ngx.log(ngx.WARN, "careful")]])
    l.server:wait_log("error.*code:1: one 2 nil true null")
    l.server:wait_log("warn.*code:1: careful")
    assert.matches("unknown level '99'", run("return ngx.log(99, 'x')"))
  end)

  it("has timers", function()
    assert.equal('"access", false, "x", "timer", true', run([[
      local got
      local begun = ngx.now()
      ngx.timer.at(0.05, function(premature, a)
        got = { premature, a, ngx.get_phase(), ngx.now() - begun >= 0.045 }
      end, "x")
      while not got do ngx.sleep(0.01) end
      return ngx.get_phase(), got[1], got[2], got[3], got[4] ]]))
  end)

  it("has threads", function()
    assert.equal('true, "second", 2, true, "first", false, true', run([[
      local one = ngx.thread.spawn(function() ngx.sleep(0.1) return "first" end)
      local two = ngx.thread.spawn(function(n) ngx.sleep(0.02) return "second", n end, 2)
      local a, b, c = ngx.thread.wait(one, two)
      local d, e = ngx.thread.wait(one)
      local f, g = ngx.thread.wait(ngx.thread.spawn(function() error("bad") end))
      return a, b, c, d, e, f, g:find("bad") ~= nil]]))
  end)

  it("has datagrams", function()
    local peer = assert(socket.udp())
    assert(peer:setsockname("127.0.0.1", 0))
    peer:settimeout(30)
    local client = l:begin(([[
      local u = ngx.socket.udp()
      local a, b = u:send("early")
      assert(u:setpeername("127.0.0.1", %d))
      u:settimeout(2000)
      local c = u:send({ "hello ", 1 })
      local d, e = u:receive(), u:receive(3)
      u:settimeout(50)
      local f, g = u:receive()
      return a, b, c, d, e, f, g, u:close(), u:close()]]):format(select(2, peer:getsockname())))
    local text, ip, port = peer:receivefrom()
    assert.equal("hello 1", text)
    peer:sendto("", ip, port)
    peer:sendto("longer", ip, port)
    assert.equal('nil, "closed", 1, "", "lon", nil, "timeout", 1, nil, "closed"', l:finish(client))
    peer:close()
    client = l:begin(([[local u = ngx.socket.udp() u:setpeername("127.0.0.1", %d) u:send("x")
      return u:receive()]]):format(require("tests.support.net").free_port()))
    assert.equal('nil, "connection refused"', l:finish(client))
  end)

  it("has Perl's patterns", function()
    assert.equal('"2024", "05", false, "05", 5, 7, 4, 5, "a-b-c", 2, "x[1]y[22]", 2, '
      .. '"<a>$", 1, "yyb a", 2, "b", 3', run([[
      local m = ngx.re.match("on 2024-05", "(\\d+)-(?<month>\\d\\d)(x)?", "jo")
      local from, to = ngx.re.find("abc 123", "[\\d]+")
      local low, high = ngx.re.find("a=123", "(\\w+)=\\d(\\d+)", "jo", nil, 2)
      local a, n = ngx.re.gsub("a.b.c", "\\.", "-")
      local b, k = ngx.re.gsub("x1y22", "(?:(\\d+))", "[$1]", "i")
      local c, o = ngx.re.sub("a", "^A$", "<${0}>$$", "i")
      local d, e = ngx.re.gsub("aab a", "a|x", "y", "a")
      local ctx = { pos = 2 }
      local f = ngx.re.match("abcb", "b", "a", ctx)
      return m[1], m[2], m[3], m.month, from, to, low, high, a, n, b, k, c, o, d, e, f[0],
        ctx.pos]]))
    local expected = '"a", "foo", "xx", 3, "a", "foofoo", "foo", "abc", "\195\169", nil, "ac"'
    assert.equal(expected, run([[
      local function first(...) local m = ngx.re.match(...) return m and m[0] end
      return first("aaa", "a+?"), first("foobar", "foo(?=bar)"), first("axxb", "(x)\\1"),
        #first("ab\nc", "b.c", "s"), first("b\na", "^a$", "m"), first("foofoo", "foo|foofoo", "d"),
        first("foofoo", "foo|foofoo"), first("abc", "a b c # note", "x"),
        first("x\195\169", "[^x]", "u"), first("abc", "^b", "", { pos = 2 }),
        first("ac", "(?:(?<n>b)|a)c", "")]]))
  end)

  it("goes on after each match", function()
    local expected = '"a1,b22", "-a--c-", 4, "-\195\169-\195\169-", 3, "h<e>ll<o>", 2, nil, nil, 8'
    assert.equal(expected, run([[
      local list = {}
      for m in ngx.re.gmatch("a1 b22", "([a-z])(\\d+)", "jo") do list[#list + 1] = m[0] end
      local a, n = ngx.re.gsub("abc", "b*", "-")
      local b, k = ngx.re.gsub("\195\169\195\169", "x*", "-", "u")
      local c, o = ngx.re.gsub("hello", "[eo]", function(m) return "<" .. m[0] .. ">" end)
      local d, e = ngx.re.match("abc", "c", "", { pos = 9 })
      local ctx = { pos = 1 }
      ngx.re.find("key=val", "(\\w+)=(\\w+)", "", ctx, 1)
      return table.concat(list, ","), a, n, b, k, c, o, d, e, ctx.pos]]))
  end)

  it("says what is wrong with a pattern, a text, a replacement", function()
    for call, message in pairs({
      ["match('a', '(a')"] = "missing closing parenthesis at byte 3",
      ["match('a', 'a', 'q')"] = "unknown option 'q'",
      ["match('\\255', 'a', 'u')"] = "UTF%-8 error",
      ["gmatch('a', '[a')"] = "terminating %]",
    }) do
      assert.matches(message, run("return select(2, ngx.re." .. call .. ")"), nil, call)
    end
    for call, message in pairs({
      ["find('a', '*')"] = "quantifier does not follow", ["sub('a', '\\\\2', '')"] = "non%-exist",
      ["gsub('a', 'a', '$x')"] = "invalid capturing variable name",
    }) do
      assert.matches(message, run("return select(3, ngx.re." .. call .. ")"), nil, call)
    end
    assert.matches("code:1: mine", run("return ngx.re.sub('a', 'a', function() error('mine') end)"))
  end)

  it("refuses patterns that would take the C stack, gigabytes or minutes", function()
    for pattern, message in pairs({
      ["('a'):rep(16385)"] = "longer than the limit",
      ["('('):rep(101) .. 'a' .. (')'):rep(101)"] = "too deeply nested",
      ["'((a{1,255}){1,255}){1,255}'"] = "regular expression is too large",
      ["'a{99999999999999999999}'"] = "number too big",
      ["('(a)'):rep(256)"] = "more than 255 groups",
    }) do
      assert.matches(message, run("return select(2, ngx.re.match('a', " .. pattern .. "))"), nil,
        pattern)
    end
  end)

  it("gives up a search that would take minutes, and the worker goes on", function()
    for call, message in pairs({
      ["match(('a'):rep(400), '^(a|a)*$(?<!a)', 'jo')"] = "match limit exceeded",
      ["match(('x'):rep(1e6), 'x*y?x*[bc]', 'jo')"] = "match limit exceeded",
      ["match(('x'):rep(1e6), 'x*y?x*[bc]', 'do')"] = "match limit exceeded",
      ["match(('ab'):rep(1e6), '^(?:a|b)*$')"] = "limit exceeded", -- of time or memory
    }) do
      assert.matches(message, run("return select(2, ngx.re." .. call .. ")"), nil, call)
    end
    assert.equal('"foo", "ok", 10000', run([[
      local m = ngx.re.match(("x"):rep(1e6) .. "foo", "[f]oo", "jo")
      return m[0], "ok", (select(2, ngx.re.gsub(("x"):rep(1e4), "x", "", "jo")))]]))
  end)

  it("keeps the memory of patterns bounded", function()
    -- AddressSanitizer holds what was freed back for a while, up to 256 MB.
    if (os.getenv("MOONGATE") or ""):find("asan", 1, true) then return end
    assert.equal("true", run([[
      local function kilobytes()
        for line in io.lines("/proc/self/statm") do return tonumber(line:match("%d+ (%d+)")) * 4 end
      end
      local function make(from, to)
        for i = from, to do
            ngx.re.match("x", i .. "(?:ab|cd){400}", "o")
            if i % 20 == 0 then ngx.sleep(0) end
          end
      end
      make(1, 300)
      local before = kilobytes()
      make(301, 2000)
      return kilobytes() - before < 8192]]))
  end)

  it("has digests", function()
    -- RFC 1321 A.5, RFC 3174 §7.3, RFC 2202 §3, and the check value of CRC-32.
    assert.equal('"900150983cd24fb0d6963f7d28e17f72", "kAFQmDzST7DWlj99KOF/cg==", '
      .. '"qZk+NkcGgWq6PiVxeFDCbJzQ2J0=", "7/zfauXrL6LSdBbV8YTfnCWafHk=", 3421780262, 3421780262',
      run([[return ngx.md5("abc"), ngx.encode_base64(ngx.md5_bin("abc")),
        ngx.encode_base64(ngx.sha1_bin("abc")),
        ngx.encode_base64(ngx.hmac_sha1("Jefe", "what do ya want for nothing?")),
        ngx.crc32_short("123456789"), ngx.crc32_long("123456789")]]))
  end)

  it("is a global for modules", function()
    assert.equal('true, "http", true', run([[
      return require("ngx") == ngx, ngx.config.subsystem,
        ngx.null == require("moongate.core").null]]))
  end)

  it("has what docs/from-openresty.md says", function()
    local page = process.read_file("docs/from-openresty.md"):match("\n## Name by name\n(.*)\n## ")
    local there = {}
    for row in page:gmatch("\n| ([^|]+) | there[^\n]*") do
      for name in row:gmatch("`ngx%.([^`]+)`") do
        there[#there + 1] = name
      end
    end
    assert.is_true(#there > 40)
    assert.equal('""', run(([[
      local lacking, known = {}, {}
      for _, name in ipairs(require("moongate.ngx.missing").names()) do known[name] = true end
      for name in ("%s"):gmatch("%%S+") do
        local value = ngx
        for part in name:gmatch("[^.]+") do value = value[part] end
        if value == nil or known["ngx." .. name] then lacking[#lacking + 1] = name end
      end
      return table.concat(lacking, " ")]]):format(table.concat(there, " "))))
  end)

  it("says what there is in the place of what is missing, and where", function()
    for code, message in pairs({
      ["ngx.say('x')"] = "code:1: ngx%.say: .*return { status = 200",
      ["local id = ngx.var.http_x_id"] = "code:1: ngx%.var%.http_x_id: .*use req%.headers%[.*x%-id",
      ["local m = ngx.req.get_method()"] = "code:1: ngx%.req%.get_method: .*; use req%.method ",
      ["ngx.status = 404"] = "code:1: ngx%.status: .*status of the decision",
      ["ngx.socket.tcp():bind('127.0.0.1')"] = "code:1: tcp:bind: ",
      ["ngx.shared.x:lpush('a', 1)"] = "code:1: shared: there is no method .*lpush",
      ["require('ngx.semaphore')"] = "ngx%.semaphore: this is OpenResty's, .*ngx%.thread%.wait",
    }) do
      assert.matches(message, run(code), nil, code)
    end
    assert.equal("false, true, nil", run([[
      return (pcall(require, "ngx.semaphore")), ngx.print and true, ngx.no_such_name]]))
  end)

  it("says it to the log, with the hook's line where the call is its last", function()
    local gate = server.start({ route = [[
      local ngx = require("ngx")
      return { control = false, on_request = function()
        return ngx.exit(403)
      end }]] })
    finally(function() gate:stop() end)
    assert.equal(500, http.get(gate.address, "/").status)
    gate:wait_log("route%.lua:%d+.*ngx%.exit: this is OpenResty's, .*return { status = 403 }")
  end)
end)

it("ends early, and premature, when another script takes over", function()
  local other = lab.start({ before = [[require("ngx")
    local ngx = require("ngx")]], hooks = [[on_start = function()
      ngx.timer.at(3600, function(premature)
        ngx.log(ngx.WARN, "premature: ", premature, ", ", (select(2, ngx.timer.at(1, print))))
      end)
    end,]] })
  finally(function() other:stop() end)
  other.server.process:kill("HUP")
  other.server:wait_log("premature: true, process exiting", 5)
  poll.wait(function()
    return other:run("return 1") == "1"
  end, "the new script")
end)
