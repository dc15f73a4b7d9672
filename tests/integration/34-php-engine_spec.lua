-- A real PHP-FPM behind queue, kept connections, ini and health checks: what its children may never
-- do to their visitors. 30-php_spec has the pages themselves.

local http = require("tests.support.http")
local load = require("tests.support.load")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local socket = require("socket")
local stage = require("tests.support.stage")

local SLOW = "/slow.php?ms=4&token=@"

-- A PHP-FPM and a server that sends everything to it; both end with `r:stop()`.
local function start(fpm_options, options)
  fpm_options.pages = "tests/pages"
  return php.rig(fpm_options, function(fpm)
    local copy = {}
    for key, value in pairs(options or {}) do
      copy[key] = value
    end
    copy.before = ("local ROOT, GREEN = %q, %q\n%s"):format(fpm.root, fpm.more.green or "",
      copy.before or "")
    copy.on_request = (copy.on_request or "") .. [[
      do return { backend = "app", docroot = ROOT } end
    ]]
    return copy
  end)
end

local function get(r, path, request)
  local copy = { path = path }
  for key, value in pairs(request or {}) do
    copy[key] = value
  end
  return http.request(r.address, copy)
end

-- Waits until the load has had so many more answers.
local function wait_answers(r, count)
  local function answers()
    local _, n = r.server:access():gsub("\n", "\n")
    return n
  end
  local before = answers()
  poll.wait(function()
    return answers() >= before + count
  end, count .. " answers")
end

describe("an upgrade of PHP between hold and resume", function()
  for name, how in pairs({
    ["a stop and a start"] = function(fpm)
      fpm:stop()
      fpm:restart()
    end,
    ["a reload in place"] = function(fpm) fpm:reload() end,
  }) do
    it("fails no request: " .. name, function()
      local r, fpm = start({ children = 4 }, {
        workers = 2, control = true,
        backend = [[max_conns = 4, keepalive = 2, queue_timeout = "20s"]],
      })
      local run = load.start(r.address, {
        { name = "get", clients = 16, path = SLOW },
        { name = "post", clients = 8, method = "POST", body = 20000, path = SLOW },
      })
      finally(function()
        run:abandon()
        r:stop()
      end)
      for _ = 1, 2 do
        wait_answers(r, 60)
        r:tell("hold", "app")
        -- Its children close their sides a moment later.
        poll.wait(function() return fpm:connections() == 0 end, "no connection to PHP-FPM")
        how(fpm)
        r:tell("resume", "app")
      end
      wait_answers(r, 60)
      local result = run:stop()
      load.assert_all(result.get)
      load.assert_all(result.post)
    end)
  end
end)

describe("PHP settings of a request", function()
  local NAMES = "names=memory_limit,user_agent,default_charset"
  -- What each host is promised.
  local EXPECTED = {
    ["small.example"] = "memory_limit=40M\nuser_agent=default agent\ndefault_charset=UTF-8\n",
    ["odd.example"] = "memory_limit=100M\nuser_agent=odd; agent = 1\ndefault_charset=UTF-8\n",
    ["none.example"] = "memory_limit=100M\nuser_agent=default agent\ndefault_charset=UTF-8\n",
  }
  local ROUTE = {
    backend = [[ini = { memory_limit = "100M", user_agent = "default agent" }, %s]],
    on_request = [[
      local ini
      if req.host == "small.example" then ini = { memory_limit = "40M" }
      elseif req.host == "odd.example" then ini = { user_agent = "odd; agent = 1" }
      elseif req.host == "evil.example" then
        ini = { user_agent = 'a"\nmemory_limit = 1G\nx = "' }
      elseif req.host == "wrong.example" then ini = { open_basedir = "/" } end
      if ini then return { backend = "app", docroot = ROOT, ini = ini } end
    ]],
  }

  for _, keys in ipairs({ "keepalive = 0", "keepalive = 1, keepalive_idle = '30s'" }) do
    describe("with " .. keys, function()
      local r

      setup(function()
        r = start({ children = 1, values = { memory_limit = true } }, {
          backend = ROUTE.backend:format(keys), on_request = ROUTE.on_request,
        })
      end)

      teardown(function() r:stop() end)

      local function check(host)
        local res = get(r, "/ini.php?" .. NAMES, { host = host })
        assert.equal(EXPECTED[host], res.body, host)
      end

      it("are its own, whoever had the child before", function()
        local hosts = { "small.example", "none.example", "odd.example" }
        local state = 7
        for _ = 1, 40 do
          state = (state * 31 + 11) % 101
          check(hosts[state % 3 + 1])
        end
      end)

      it("are its own after a request that died", function()
        for _, die in ipairs({ "memory", "exit" }) do
          get(r, "/ini.php?" .. NAMES .. "&die=" .. die, { host = "small.example" })
          check("none.example")
          get(r, "/ini.php?" .. NAMES .. "&die=" .. die, { host = "odd.example" })
          check("small.example")
          check("none.example")
        end
      end)

      it("are its own after a client that left", function()
        local client = http.open(r.address)
        client:send({ path = "/ini.php?ms=150&" .. NAMES, host = "small.example" })
        assert.is_true(client.conn:silent(0.05))
        client.conn:reset()
        check("none.example")
      end)

      it("can't bring others with them", function()
        local res = get(r, "/ini.php?" .. NAMES, { host = "evil.example" })
        if res.status ~= 500 then
          assert.is_truthy(res.body:find("memory_limit=100M\n", 1, true), res.body)
        end
        check("none.example")
      end)

      it("that the backend does not name are refused, and nothing is sent", function()
        local mark = r.server:mark()
        assert.equal(500, get(r, "/ini.php?" .. NAMES, { host = "wrong.example" }).status)
        r.server:wait_log("open_basedir", nil, mark)
        check("none.example")
      end)
    end)
  end
end)

describe("a request of the script's own to PHP", function()
  for _, keys in ipairs({ "keepalive = 0", "keepalive = 1, max_conns = 1" }) do
    it("has the backend's settings, and may bring no others, with " .. keys, function()
      local r = start({ children = 1 }, {
        before = "local moongate = require('moongate')",
        backend = [[ini = { include_path = ".", user_agent = "default" }, ]] .. keys,
        on_request = [[
          if req.path == "/own" then
            local answer = assert(moongate.fastcgi("app", {
              SCRIPT_FILENAME = ROOT .. "/ini.php", QUERY_STRING = req.query,
              [req.args.raw or "X"] = "user_agent=raw\nerror_prepend_string=raw",
            }))
            return { status = 200, body = answer.body }
          elseif req.host == "a.example" then
            return { backend = "app", docroot = ROOT, ini = { user_agent = "secret of a" } }
          end
        ]],
      })
      finally(function() r:stop() end)
      local query = "?names=include_path,user_agent,error_prepend_string"
      local usual = "include_path=.\nuser_agent=default\nerror_prepend_string=\n"
      local own = usual:gsub("default", "secret of a")
      for _ = 1, 3 do
        assert.equal(own, get(r, "/ini.php" .. query, { host = "a.example" }).body)
        assert.equal(usual, get(r, "/own" .. query).body)
      end
      for _, name in ipairs({ "PHP_VALUE", "PHP_ADMIN_VALUE" }) do
        assert.equal(500, get(r, "/own" .. query .. "&raw=" .. name).status)
        r.server:wait_log("fastcgi: '" .. name .. "' is refused")
        assert.equal(usual, get(r, "/ini.php" .. query).body)
        assert.equal(usual, get(r, "/own" .. query).body)
      end
    end)
  end
end)

describe("a setting of PHP", function()
  it("may be empty, or an expression of kinds of errors", function()
    local r, fpm = start({ children = 1, values = { error_reporting = true } }, {
      backend = [[ini = {
        error_reporting = "E_ALL & ~E_DEPRECATED", auto_append_file = "", user_agent = "",
      }]],
      on_request = [[
        local d = { backend = "app", docroot = ROOT }
        if req.host == "all.example" then
          local page = ROOT .. "/hello.php"
          d.ini = { error_reporting = "E_ALL", user_agent = "x", auto_append_file = page }
        elseif req.host == "few.example" then
          d.ini = { error_reporting = "(E_WARNING | E_NOTICE) & ~8", user_agent = "" }
        elseif req.host == "wrong.example" then
          d.ini = { error_reporting = "E_ALL &" }
        end
        do return d end
      ]],
    })
    finally(function() r:stop() end)
    stage.write(fpm.root, { ["reported.php"] = [[<?php
      $names = [E_ALL => 'all', E_ALL & ~E_DEPRECATED => 'usual', E_WARNING => 'few'];
      echo $names[error_reporting()] ?? error_reporting(), ' agent=', ini_get('user_agent'), "\n";
    ]] })
    local expected = {
      ["all.example"] = "all agent=x\nHello from PHP\n", ["few.example"] = "few agent=\n",
      ["none.example"] = "usual agent=\n",
    }
    for _ = 1, 3 do
      for _, host in ipairs({ "none.example", "all.example", "few.example", "all.example" }) do
        assert.equal(expected[host], get(r, "/reported.php", { host = host }).body)
      end
    end
    assert.equal(500, get(r, "/reported.php", { host = "wrong.example" }).status)
    assert.equal(expected["none.example"], get(r, "/reported.php").body)
    assert.is_nil(r.server:errors():find("Passing INI directive", 1, true), r.server:errors())
    assert.is_nil(fpm:log():find("Passing INI directive", 1, true), fpm:log())
  end)

  it("that a reload takes away stays in PHP-FPM, of which the operator is told", function()
    local r, fpm = start({ children = 1 }, {
      control = true, backend = [[ini = { include_path = ".", user_agent = "default" }]],
      on_request = [[
        if req.host == "a.example" then
          return { backend = "app", docroot = ROOT, ini = { user_agent = "secret of a" } }
        end
      ]],
    })
    finally(function() r:stop() end)
    local function agent(host)
      return get(r, "/ini.php?names=user_agent", { host = host }).body
    end
    -- What `moongate reload` and the log say of a route with these settings for everybody.
    local function reload(settings)
      local mark = r.server:mark()
      r.server:rewrite(r:route({
        backend = ("ini = { %s }"):format(settings),
        on_request = "do return { backend = 'app', docroot = ROOT } end",
      }))
      local result = r:command("reload")
      assert.equal(0, result.code, result.stderr)
      r.server:wait_reloaded(mark)
      return result.stderr, r.server:errors():sub(mark + 1)
    end
    local function assert_told(answer, log)
      local told = "'ini' no longer names 'user_agent' (backend 'app' at " .. fpm.address .. "): "
      assert.truthy(answer:find("warning: " .. told, 1, true), answer)
      assert.truthy(answer:find("; restart PHP-FPM there, or name the setting", 1, true), answer)
      assert.truthy(log:match("%[warn%] [^\n]*" .. told:gsub("%p", "%%%0")), log)
    end
    assert.equal("user_agent=secret of a\n", agent("a.example"))
    assert_told(reload([[include_path = "."]]))
    assert.equal("user_agent=secret of a\n", agent("b.example"))
    -- Both of what it says to do help; a reload that takes nothing away says nothing.
    assert.equal("", (reload([[include_path = ".", user_agent = "for all"]])))
    assert.equal("user_agent=for all\n", agent("b.example"))
    assert_told(reload([[include_path = "."]]))
    fpm:stop()
    fpm:restart()
    assert.equal("user_agent=\n", agent("b.example"))
    assert.equal("", (reload([[include_path = "."]])))
  end)
end)

describe("a child of PHP-FPM", function()
  it("that has served its last request (pm.max_requests) costs nobody an answer", function()
    local r = start({ children = 3, pool = { "pm.max_requests = 9" } }, {
      workers = 2, backend = "max_conns = 3, keepalive = 3",
    })
    finally(function() r:stop() end)
    local result = load.run(r.address, {
      seconds = 30, { clients = 12, requests = 9 * 3 * 20, path = "/slow.php?token=@" },
    })
    load.assert_all(result.all)
    assert.equal(9 * 3 * 20, result.all.requests) -- each child has retired many times
  end)

  for _, workers in ipairs({ 1, 2 }) do
    it(("costs nobody a POST, nor a script an answer (%d workers)"):format(workers), function()
      local r = start({ children = 3, pool = { "pm.max_requests = 9" } }, {
        workers = workers, backend = "max_conns = 3, keepalive = 3",
        before = "local moongate = require('moongate')",
        on_request = [[
          if req.args.how == "stream" then
            return { backend = "app", docroot = ROOT, request_buffering = false }
          elseif req.args.how == "script" then
            local answer, why = moongate.fastcgi("app", {
              SCRIPT_FILENAME = ROOT .. "/slow.php", QUERY_STRING = "token=" .. req.args.token,
              REQUEST_METHOD = "GET",
            })
            return answer and { status = answer.status, body = answer.body }
              or { status = 502, body = why }
          end
        ]],
      })
      finally(function() r:stop() end)
      local result = load.run(r.address, {
        seconds = 30,
        { name = "post", clients = 8, requests = 300, path = "/slow.php?token=@",
          method = "POST", body = 10 },
        { name = "get", clients = 2, requests = 80, path = "/slow.php?token=@" },
        { name = "stream", clients = 2, requests = 80, path = "/slow.php?how=stream&token=@",
          method = "PUT", body = 10 },
        { name = "script", clients = 2, requests = 80, path = "/slow.php?how=script&token=@" },
      })
      for name, requests in pairs({ post = 300, get = 80, stream = 80, script = 80 }) do
        load.assert_all(result[name])
        assert.equal(requests, result[name].requests)
      end
    end)
  end

  for limit, text in pairs({
    max_conns = "max_conns = 4, per_tenant = 2",
    per_tenant = "per_tenant = 2",
  }) do
    it("is not kept from others by clients that give up, with " .. limit, function()
      local r = start({ children = 4 }, {
        workers = 2, backend = text,
        on_request = "do return { backend = 'app', docroot = ROOT, tenant = req.host } end",
      })
      local storm = load.start(r.address, {
        { clients = 20, host = "storm.example", path = "/slow.php?ms=6000&token=@", leave = 50 },
      })
      finally(function()
        storm:abandon()
        r:stop()
      end)
      r.server:wait_access('" 499 ') -- it blows
      local quiet = load.run(r.address, {
        seconds = 20, { requests = 20, host = "quiet.example", path = "/slow.php?token=@" },
      })
      load.assert_all(quiet.all)
      assert.is_true(quiet.all.p90 < 3, quiet.all.text) -- it never waits for a page of the others
    end)
  end

  it("is not held by a browser that reads slowly", function()
    local r, fpm = start({ children = 1 }, { backend = "max_conns = 1" })
    finally(function() r:stop() end)
    local slow = http.open(r.address)
    slow:send({ path = "/big.php?bytes=30000000" })
    slow.conn:read(1000)
    local begun = socket.gettime()
    assert.equal("Hello from PHP\n", get(r, "/hello.php").body)
    assert.is_true(socket.gettime() - begun < 25)
    poll.wait(function() return fpm:connections() == 0 end, "PHP-FPM to be left alone")
    assert.is_true(slow.conn:read(1000) ~= nil) -- it has not been cut for that
    slow:close()
  end)

  it("is held by it where the decision or the page wants no buffer", function()
    local r, fpm = start({ children = 2 }, {
      on_request = [[
        if req.path == "/big.php" then
          return { backend = "app", docroot = ROOT, response_buffering = false }
        end
      ]],
    })
    finally(function() r:stop() end)
    local slow = http.open(r.address)
    slow:send({ path = "/big.php?bytes=60000000" })
    slow.conn:read(1000)
    assert.is_nil(poll.try(function()
      return fpm:connections() == 0
    end, 0.7))
    assert.equal("Hello from PHP\n", get(r, "/hello.php").body)
    local whole = 1000
    while whole < 60000000 do
      local bytes = slow.conn:read_some(10)
      assert.is_true(#bytes > 0, "it ended after " .. whole)
      whole = whole + #bytes
    end
    slow:close()
  end)

  it("that is killed costs the one request that it had", function()
    local r, fpm = start({ children = 4 }, { backend = "max_conns = 4, keepalive = 4" })
    local run = load.start(r.address, { { clients = 12, path = SLOW } })
    finally(function()
      run:abandon()
      r:stop()
    end)
    for i = 1, 4 do
      wait_answers(r, 40)
      process.signal(fpm:children()[1], i % 2 == 0 and "KILL" or "TERM")
    end
    wait_answers(r, 40)
    local all = run:stop().all
    assert.equal(0, all.failed, all.text)
    assert.is_true(all[200] >= all.requests - 4, all.text)
  end)

  it("that works on after fastcgi_finish_request spoils no later answer", function()
    local r, fpm = start({ children = 1 }, { backend = [[keepalive = 1, keepalive_idle = "9s"]] })
    finally(function() r:stop() end)
    for i = 1, 3 do
      local mark = ("%s/finished%d"):format(fpm.data, i)
      assert.equal("answered\n", get(r, "/finish.php?mark=" .. mark).body)
      assert.equal(("token=after%d;\nmethod=GET\n"):format(i),
        get(r, "/slow.php?token=after" .. i).body)
      assert.equal("done", process.read_file(mark))
    end
  end)

  it("keeps its connection in order after bodies that no client may get", function()
    local r, fpm = start({ children = 1 }, { backend = [[keepalive = 1, keepalive_idle = "9s"]] })
    finally(function() r:stop() end)
    local client = http.open(r.address)
    for _, request in ipairs({
      { path = "/body.php", method = "HEAD" },
      { path = "/body.php?code=204" },
      { path = "/body.php?code=304" },
      { path = "/body.php?code=304&length=13500" },
      { path = "/body.php?length=100" }, -- longer than it says
    }) do
      local res = client:request(request)
      if request.path:find("length=100", 1, true) then
        assert.equal(100, #res.body)
      else
        assert.equal("none", res.framing, request.path)
      end
      assert.equal("token=next;\nmethod=GET\n", client:request({
        path = "/slow.php?token=next",
      }).body)
    end
    client:assert_quiet()
    client:close()
    poll.wait(function() return fpm:connections() <= 1 end, "one connection at most")
  end)

  it("gets chunked uploads with their length, one after another on a kept connection", function()
    local r = start({ children = 1 }, { backend = [[keepalive = 1, keepalive_idle = "9s"]] })
    finally(function() r:stop() end)
    local client = http.open(r.address)
    for i = 1, 6 do
      local pieces, length = {}, 0
      for k = 1, i do
        pieces[k] = rig.bytes(k * 9973)
        length = length + #pieces[k]
      end
      local res = client:request({ method = "POST", path = "/input.php", body = pieces,
        headers = { ["Content-Type"] = "application/octet-stream" } })
      assert.is_truthy(res.body:find(("announced=%d\nlength=%d\n"):format(length, length), 1, true),
        res.body)
    end
    client:close()
  end)
end)

describe("PHP-FPM that is full", function()
  it("at its socket (EAGAIN) is waited for", function()
    local r = start({ children = 1, pool = { "listen.backlog = 1" } }, {
      backend = [[max_conns = 0, queue_timeout = "20s"]],
    })
    finally(function() r:stop() end)
    local result = load.run(r.address, {
      { clients = 15, requests = 60, path = "/slow.php?ms=15&token=@" },
    })
    load.assert_all(result.all)
  end)

  it("does not make another pool slow", function()
    local r = start({ children = 1, more = { green = { "pm.max_children = 1" } } }, {
      backend = [[max_conns = 1, queue = 5, queue_timeout = "60s"]],
      on_request = [[
        if req.host == "green.example" then
          return { backend = "green", docroot = ROOT }
        end
      ]],
      backends = [[green = GREEN]],
    })
    finally(function() r:stop() end)
    local stuck = {}
    for i = 1, 4 do
      stuck[i] = http.open(r.address)
      stuck[i]:send({ path = "/slow.php?ms=2000&token=" .. i })
    end
    assert.equal("Hello from PHP\n", get(r, "/hello.php", { host = "green.example" }).body)
    local waiting = 0
    for i = 1, 4 do
      waiting = waiting + (stuck[i].conn:silent(0) and 1 or 0)
    end
    assert.is_true(waiting >= 2, waiting)
    for i = 1, 4 do
      assert.equal(200, stuck[i]:receive().status)
      stuck[i]:close()
    end
  end)

  it("with our own requests is not dead", function()
    local r = start({ children = 1 }, {
      backend = [[max_conns = 1, queue_timeout = "60s",
        health = { ping = "/ping", interval = "100ms", timeout = "1s", rise = 1, fall = 2 }]],
    })
    finally(function() r:stop() end)
    local client = http.open(r.address)
    client:send({ path = "/slow.php?ms=4000&token=long" })
    assert.is_true(client.conn:silent(2.5))
    assert.equal("token=short;\nmethod=GET\n", get(r, "/slow.php?token=short").body)
    assert.is_truthy(client:receive().body:find("token=long;", 1, true))
    client:close()
  end)

  it("answers pings, and is down when it is not there", function()
    local r, fpm = start({ children = 2 }, {
      backend = [[health = { interval = "100ms", timeout = "10s", rise = 1, fall = 1 }]],
    })
    finally(function() r:stop() end)
    assert.equal(200, get(r, "/hello.php").status)
    fpm:stop()
    r.server:wait_log(fpm.address:gsub("%p", "%%%0"))
    fpm:restart()
    poll.wait(function()
      return get(r, "/hello.php").status == 200
    end, "PHP to be back", 5)
  end)

  it("is fair to its tenants", function()
    local r = start({ children = 4 }, {
      workers = 2, backend = "max_conns = 4, keepalive = 4",
      on_request = [[
        do return { backend = "app", docroot = ROOT, tenant = req.host } end
      ]],
    })
    finally(function() r:stop() end)
    local path = "/slow.php?ms=50&token=@"
    local result = load.run(r.address, {
      seconds = 1.5,
      { name = "big", clients = 30, host = "big.example", path = path },
      { name = "small", clients = 2, host = "small.example", path = path },
    })
    load.assert_all(result.big)
    load.assert_all(result.small)
    assert.is_true(result.small.p50 < 0.6 * result.big.p50, -- in one queue they were the same
      result.small.text .. "\n" .. result.big.text)
  end)
end)

describe("a deploy by a symlink", function()
  it("serves the new code within a second or so, though PHP keeps compiled pages", function()
    local r, fpm = start({
      children = 2,
      ini = { ["opcache.enable"] = "1", ["opcache.revalidate_freq"] = "60" },
    }, {
      backend = [[keepalive = 2]],
      on_request = [[do return { backend = "app", root = ROOT .. "/current" } end]],
    })
    finally(function() r:stop() end)
    local page = "<?php echo '%s ', __DIR__, ' ', $_SERVER['SCRIPT_FILENAME'], ' ', "
      .. "$_SERVER['DOCUMENT_ROOT'];"
    stage.write(fpm.root, {
      ["releases/1/page.php"] = page:format("one"), ["releases/2/page.php"] = page:format("two"),
    })
    local function switch(release)
      local to = process.quote(fpm.root)
      assert(os.execute(("ln -s releases/%d %s/new && mv -T %s/new %s/current"):format(
        release, to, to, to)) == 0)
    end
    local function expected(word, release)
      local dir = ("%s/releases/%d"):format(fpm.root, release)
      return ("%s %s %s/page.php %s"):format(word, dir, dir, dir)
    end
    switch(1)
    for _ = 1, 4 do
      assert.equal(expected("one", 1), get(r, "/page.php").body)
    end
    switch(2)
    poll.wait(function()
      return get(r, "/page.php").body == expected("two", 2)
    end, "the new release", 3)
    for _ = 1, 4 do
      assert.equal(expected("two", 2), get(r, "/page.php").body)
    end
  end)
end)

describe("what PHP writes to STDERR", function()
  it("is one line for each message, with level and place", function()
    local r, fpm = start({ children = 1 }, {
      settings = [[
        on_stderr = function(req, messages)
          local list = {}
          for i, m in ipairs(messages) do list[i] = m.level .. ":" .. tostring(m.line) end
          req.ctx.list = table.concat(list, " ")
        end,
        on_log = function(req) return req.query .. " " .. tostring(req.ctx.list) end
      ]],
    })
    finally(function() r:stop() end)
    assert.equal(200, get(r, "/errors.php?kinds=warning,notice,deprecated,log,lines").status)
    r.server:wait_access("lines warning:%d+ notice:%d+ deprecated:%d+ info:nil info:nil")
    local page = fpm.root .. "/errors.php"
    for _, text in ipairs({ "PHP Warning: Undefined variable $undefined in " .. page .. ":",
      "PHP Notice: a notice of ours; with a semicolon in " .. page .. ":",
      "PHP Deprecated: an old way in " .. page .. ":", "the application says so", "second line",
    }) do
      r.server:wait_log((text:gsub("%p", "%%%0")))
    end
    assert.equal(500, get(r, "/errors.php?kinds=warning,exception").status)
    r.server:wait_access("exception warning:%d+ fatal:%d+")
    local line = r.server:wait_log("nobody catches it")
    assert.is_truthy(line:find("LogicException") and line:find("deep%(") and line:find("{main}"),
      line)
  end)
end)

describe("a file that PHP leaves to the proxy", function()
  local r, private, fpm

  setup(function()
    private = stage.files({ ["report.txt"] = "the secret report\n", ["a b.txt"] = "blank\n" })
    r, fpm = start({ children = 1 }, {
      backend = [[keepalive = 1]],
      before = ("local PRIVATE = %q"):format(private),
      on_request = [[
        do return { backend = "app", root = ROOT, docroot = ROOT,
          internal = { ["/protected/"] = PRIVATE } } end
      ]],
    })
    stage.write(fpm.root, { ["files/open.txt"] = "an open file\n" })
  end)

  teardown(function() r:stop() end)

  local function send(header, value, request)
    return get(r, ("/send.php?header=%s&value=%s"):format(header, http.escape(value)), request)
  end

  it("is named by X-Accel-Redirect", function()
    local res = send("X-Accel-Redirect", "/protected/report.txt")
    assert.equal(200, res.status)
    assert.equal("the secret report\n", res.body)
    assert.is_nil(res.headers["x-accel-redirect"])
    assert.equal("blank\n", send("X-Accel-Redirect", "/protected/a%20b.txt").body)
  end)

  it("is named by X-Accel-Redirect as PHP has its name, whatever is in it", function()
    for _, name in ipairs({ "a b.txt", "größe.txt", "\xff\xfe.txt", "100% sure.txt", "50%.txt",
      "C# #1.txt", "a%2", "quote'\"<>|^`{}.txt", "plus+and&.txt" }) do
      stage.write(private, { ["odd/" .. name] = "this is " .. name })
      local res = send("X-Accel-Redirect", "/protected/odd/" .. name)
      assert.equal(200, res.status, name)
      assert.equal("this is " .. name, res.body)
      assert.equal(200, send("X-Accel-Redirect",
        "/protected/odd/" .. http.escape(name)).status, name)
      stage.write(fpm.root, { ["odd/" .. name] = "this is " .. name })
      assert.equal("this is " .. name, send("X-Sendfile", fpm.root .. "/odd/" .. name).body)
    end
    for _, path in ipairs({ "/protected/%00", "/protected/a%00.txt", "/../x" }) do
      assert.equal(502, send("X-Accel-Redirect", path).status, path)
    end
  end)

  it("may have a name that no client may ask for", function()
    for _, name in ipairs({ ".bashrc", "x.php", "x.bak", ".git/config", "notes~", "tool.py" }) do
      local text = "this is " .. name
      stage.write(private, { [name] = text })
      stage.write(fpm.root, { ["handed/" .. name] = text })
      assert.equal(text, send("X-Accel-Redirect", "/protected/" .. name).body)
      assert.equal(text, send("X-Accel-Redirect", "/handed/" .. name).body)
      assert.equal(text, send("X-Sendfile", fpm.root .. "/handed/" .. name).body)
    end
    assert.equal(0, process.run({ argv = { "ln", "-s", "x.php", private .. "/link.txt" } }).code)
    assert.equal("this is x.php", send("X-Accel-Redirect", "/protected/link.txt").body)
    -- Where it may lie is not its own business.
    for _, target in ipairs({ "/etc/passwd", fpm.root .. "/handed/x.php", "../" }) do
      assert.equal(0, process.run({ argv = { "ln", "-sfn", target, private .. "/out.txt" } }).code)
      local res = send("X-Accel-Redirect", "/protected/out.txt")
      assert.equal(403, res.status, target)
      assert.is_nil(res.body:find("root:", 1, true))
    end
    -- Nor does it become the client's to ask for.
    assert.is_nil(get(r, "/handed/.bashrc").body:find("this is", 1, true))
  end)

  it("is no folder", function()
    stage.write(private, { ["folder/x.txt"] = "x" })
    local res = send("X-Accel-Redirect", "/protected/folder")
    assert.equal(404, res.status)
    assert.is_nil(res.headers.location)
  end)

  -- The answer to a file that PHP hands over with these headers, a list of names and values.
  local function send_with(headers, request, more)
    local query = {}
    for i = 1, #headers, 2 do
      query[#query + 1] = "header[]=" .. headers[i] .. "&value[]=" .. http.escape(headers[i + 1])
    end
    return get(r, "/send.php?" .. table.concat(query, "&") .. (more or ""), request)
  end

  it("goes out in parts of the type that PHP says", function()
    local res = send_with({ "X-Accel-Redirect", "/protected/report.txt",
      "Content-Type", "text/x-report" }, { headers = { Range = "bytes=0-2,11-16" } })
    assert.equal(206, res.status)
    assert.matches("^multipart/byteranges; boundary=", res.headers["content-type"])
    assert.is_truthy(res.body:find("Content-Type: text/x-report", 1, true), res.body)
  end)

  it("keeps the Content-Encoding that it has, and none that it has not", function()
    local text = ("a plain text\n"):rep(20)
    stage.write(private, { ["plain.txt"] = text, ["fake.gz"] = text, ["x.br"] = "\11\2\128ab\3" })
    assert.equal(0, process.run({ argv = { "gzip", "-k", private .. "/plain.txt" } }).code)
    local gzipped = assert(io.open(private .. "/plain.txt.gz", "rb"))
    local bytes = gzipped:read("*a")
    gzipped:close()
    stage.write(private, { ["cached-page"] = bytes })
    for _, case in ipairs({
      { "plain.txt.gz", "gzip", "gzip" }, { "cached-page", "gzip", "gzip" },
      { "cached-page", "x-gzip", "x-gzip" }, { "plain.txt", "gzip", nil },
      { "fake.gz", "gzip", nil }, { "plain.txt", "zstd", nil }, { "plain.txt", "deflate", nil },
      { "plain.txt.gz", "zstd", nil }, { "x.br", "br", "br" }, { "plain.txt", "br", nil },
    }) do
      local res = send_with({ "X-Accel-Redirect", "/protected/" .. case[1],
        "Content-Encoding", case[2], "Content-Type", "text/html" })
      assert.equal(200, res.status)
      assert.equal(case[3], res.headers["content-encoding"], case[1] .. " as " .. case[2])
      assert.equal("text/html", res.headers["content-type"]:match("^[^;]+"))
    end
    local res = send_with({ "X-Accel-Redirect", "/protected/plain.txt.gz",
      "Content-Encoding", "gzip", "Content-Type", "text/plain" }, { method = "HEAD" })
    assert.equal("gzip", res.headers["content-encoding"])
    -- PHP compresses what it writes, which is not what is sent.
    local compressing = { headers = { ["Accept-Encoding"] = "gzip" } }
    res = send_with({ "X-Accel-Redirect", "/protected/plain.txt" }, compressing, "&compress")
    assert.equal(text, res.body)
    assert.is_nil(res.headers["content-encoding"])
    res = send_with({ "X-Accel-Redirect", "/protected/plain.txt.gz",
      "Content-Type", "application/gzip" }, compressing, "&compress")
    assert.is_true(res.body == bytes)
    assert.is_nil(res.headers["content-encoding"])
    assert.equal("gzip", get(r, "/send.php?header=X-Other&value=a&compress",
      compressing).headers["content-encoding"]) -- it does compress
  end)

  it("is named by X-Sendfile, as the application sees it", function()
    local res = send("X-Sendfile", fpm.root .. "/files/open.txt")
    assert.equal(200, res.status)
    assert.equal("an open file\n", res.body)
    assert.is_nil(res.headers["x-sendfile"])
  end)

  it("goes out in ranges, and without its body for HEAD", function()
    local res = send("X-Accel-Redirect", "/protected/report.txt", {
      headers = { Range = "bytes=4-9" },
    })
    assert.equal(206, res.status)
    assert.equal("secret", res.body)
    res = send("X-Accel-Redirect", "/protected/report.txt", { method = "HEAD" })
    assert.equal(200, res.status)
    assert.equal("18", res.headers["content-length"])
  end)

  it("is not reachable from outside", function()
    for _, path in ipairs({ "/protected/report.txt", "/../report.txt" }) do
      assert.is_nil(get(r, path).body:find("secret report", 1, true))
    end
  end)

  it("may not be any file of the machine", function()
    for _, case in ipairs({
      { "X-Accel-Redirect", "/protected/../../../../etc/passwd" },
      { "X-Accel-Redirect", "/protected/%2e%2e/%2e%2e/%2e%2e/etc/passwd" },
      { "X-Accel-Redirect", "/etc/passwd" },
      { "X-Accel-Redirect", "//etc/passwd" },
      { "X-Sendfile", "/etc/passwd" },
      { "X-Sendfile", fpm.root .. "/../../../../../etc/passwd" },
      { "X-Sendfile", "etc/passwd" },
      { "X-Sendfile", private .. "/report.txt" },
    }) do
      local res = send(case[1], case[2])
      assert.is_true(res.status >= 400, case[2])
      assert.is_nil(res.body:find("root:", 1, true), case[2])
      assert.is_nil(res.body:find("secret report", 1, true), case[2])
      assert.is_nil(res.headers[case[1]:lower()])
    end
  end)

  it("that is not there is 404", function()
    assert.equal(404, send("X-Accel-Redirect", "/protected/nothing.txt").status)
    assert.equal(404, send("X-Sendfile", fpm.root .. "/files/nothing.txt").status)
  end)

  it("leaves the connections in order", function()
    local client = http.open(r.address)
    for _ = 1, 3 do
      local path = "/send.php?header=X-Accel-Redirect&value=/protected/report.txt"
      assert.equal("the secret report\n", client:request({ path = path }).body)
      assert.equal("Hello from PHP\n", client:request({ path = "/hello.php" }).body)
    end
    client:assert_quiet()
    client:close()
  end)
end)

describe("an internal redirect", function()
  local r

  setup(function()
    r = rig.start({
      backend = "keepalive = 2",
      on_request = [[
        if req.path == "/inner.php" and not req.internal then
          return { status = 403, body = "only from inside\n" }
        elseif req.path == "/reply" then
          return { status = 200, body = "internal " .. tostring(req.internal) .. "\n" }
        end
      ]],
    })
  end)

  teardown(function() r:stop() end)

  local function to(path)
    return "header=Location:%20" .. http.escape(path)
  end

  it("goes through on_request again, as a GET without body", function()
    assert.equal(403, http.get(r.address, "/inner.php").status)
    local res = r:get(to("/inner.php?dump"), { method = "POST", body = "not for the second" })
    assert.equal(200, res.status)
    local p = rig.params(res)
    assert.equal("GET", p.REQUEST_METHOD)
    assert.equal("/inner.php", p.SCRIPT_NAME)
    assert.equal("dump", p.QUERY_STRING)
    assert.is_true(p.CONTENT_LENGTH == nil or p.CONTENT_LENGTH == "0" or p.CONTENT_LENGTH == "")
    assert.is_nil(res.headers.location)
    assert.equal("internal true\n", r:get(to("/reply")).body)
  end)

  it("stays HEAD", function()
    local res = r:get(to("/inner.php?who"), { method = "HEAD" })
    assert.equal(200, res.status)
    assert.is_truthy(res.headers["x-listener"])
  end)

  it("is followed ten times; the eleventh is 500", function()
    local function chain(n)
      local path = "/inner.php?body=end"
      for _ = 1, n do
        path = "/inner.php?" .. to(path)
      end
      return http.get(r.address, "/x.php" .. path:sub(#"/inner.php" + 1))
    end
    assert.equal("end", chain(10).body)
    local before = #r:events("REQUEST")
    assert.equal(500, chain(11).status)
    assert.is_true(#r:events("REQUEST") - before <= 11)
  end)

  it("goes to a path as the application writes it", function()
    for _, path in ipairs({ "/größe und mehr.php", "/100%.php" }) do
      local res = r:get(to(path .. "?dump"))
      assert.equal(200, res.status, path)
      assert.equal(path, rig.params(res).SCRIPT_NAME)
    end
  end)

  it("is the client's where it names a part of a page", function()
    local res = r:get(to("/inner.php#part"))
    assert.equal(302, res.status)
    assert.equal("/inner.php#part", res.headers.location)
  end)

  it("is the client's where the application says so by a status", function()
    local res = r:get("status=301&" .. to("/inner.php"))
    assert.equal(301, res.status)
    assert.equal("/inner.php", res.headers.location)
  end)
end)
