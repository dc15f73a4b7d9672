-- Specs of moongate.decision.ini.

local ini = require("moongate.decision.ini")

describe("ini.problem", function()
  it("finds nothing wrong with settings of PHP", function()
    assert.is_nil(ini.problem({}))
    assert.is_nil(ini.problem({
      memory_limit = "128M", ["date.timezone"] = "Europe/Berlin", max_execution_time = 30,
      display_errors = false, log_errors = true, error_prepend_string = "",
      open_basedir = "/srv/a b:/tmp", ["session.save_path"] = 'tcp://h?auth="x";y=${z}\\',
    }))
  end)

  for _, value in ipairs({
    0, 32767, -1, false, "22527", "-1", "E_ALL", "E_ALL & ~E_DEPRECATED & ~E_STRICT",
    "(E_ALL^(E_NOTICE|E_WARNING))&~8192", "~ (E_NOTICE)", "!!E_ALL",
  }) do
    it(("takes %s for error_reporting"):format(tostring(value)), function()
      assert.is_nil(ini.problem({ error_reporting = value }))
    end)
  end

  -- PHP would take all of these for a number, most for 0, or not read what stands behind them.
  for _, value in ipairs({
    "", "E_FOO", "E_ALL & ~E_FOO", "E_ALL &", "& E_ALL", "E_ALL E_NOTICE", "(E_ALL", "E_ALL)", "()",
    "E_ALL()", "E_ALL ~E_NOTICE", "E_ALL && E_NOTICE", "E_ALL - E_NOTICE", "E_ALL; x", "E_ALL\\",
    "$E_ALL", '"E_ALL"', "all", "0x7fff", "8|2", 0.5, 1e300, ("("):rep(600) .. "E_ALL"
      .. (")"):rep(600),
  }) do
    it(("refuses %s for error_reporting"):format(tostring(value):sub(1, 20)), function()
      assert.matches("^'error_reporting': expected a number or an expression such as "
        .. '"E_ALL & ~E_DEPRECATED", got ".*", which PHP would take for 0',
        ini.problem({ error_reporting = value }))
    end)
  end

  it("suggests what was meant", function()
    assert.matches("got \"E_ALL & ~E_DEPRECATE\", which PHP would take for 0; did you mean "
      .. "'E_DEPRECATED'%?$", ini.problem({ error_reporting = "E_ALL & ~E_DEPRECATE" }))
  end)

  for _, case in ipairs({
    { 1, 'expected a table from setting to value such as { memory_limit = "128M" }, got 1' },
    { "memory_limit=1M", "expected a table from setting to value such as "
      .. '{ memory_limit = "128M" }, got "memory_limit=1M"' },
    { { "128M" }, "the keys are names of settings, as in { memory_limit = \"128M\" }; there is one "
      .. "without" },
    { { [""] = "x" }, "'' cannot be the name of a setting" },
    { { ["a b"] = "x" }, "'a b' cannot be the name of a setting" },
    { { ["a=b"] = "x" }, "'a=b' cannot be the name of a setting" },
    { { ["a\nb"] = "x" }, "'a?b' cannot be the name of a setting" },
    { { ["a[b]"] = "x" }, "'a[b]' cannot be the name of a setting" },
    { { ["a;"] = "x" }, "'a;' cannot be the name of a setting" },
    { { extension = "x.so" }, "'extension' is refused: PHP can only add to it, and would keep it "
      .. "for every later request" },
    { { zend_extension = "x.so" }, "'zend_extension' is refused: " },
    { { disable_functions = "exec" }, "'disable_functions' is refused: " },
    { { disable_classes = "X" }, "'disable_classes' is refused: " },
    { { a = "it's" }, "'a': a single quote in its value, which PHP would take for its end" },
    { { a = "b\nc=d" }, "'a': a control character in its value" },
    { { a = "b\rc" }, "'a': a control character in its value" },
    { { a = "b\0c" }, "'a': a control character in its value" },
    { { a = "b\127" }, "'a': a control character in its value" },
    { { a = {} }, "'a': expected a text, a number, true or false, got a table" },
    { { a = 0 / 0 }, "'a': expected a text, a number, true or false, got " },
    { { a = math.huge }, "'a': expected a text, a number, true or false, got inf" },
  }) do
    it("says: " .. case[2]:gsub("%c", "?"), function()
      assert.equal(case[2], (ini.problem(case[1]) or "nothing"):sub(1, #case[2]))
    end)
  end
end)

describe("ini.list", function()
  it("is in order, and has texts only", function()
    assert.same({
      { "a", "1", "a='1'" }, { "b", "0", "b='0'" }, { "c", "30", "c='30'" },
      { "d", "0.5", "d='0.5'" }, { "e", "9007199254740991", "e='9007199254740991'" },
      { "f", "x", "f='x'" }, { "g", "-1", "g='-1'" }, { "h", "", 'h=""' },
    }, ini.list({
      f = "x", e = 2 ^ 53 - 1, d = 0.5, c = 30, b = false, a = true, g = -1, h = "",
    }))
  end)
end)

describe("ini.text", function()
  local list = ini.list({ memory_limit = "128M", display_errors = false, x = "" })

  it("has every setting of the backend", function()
    assert.equal("display_errors='0'\nmemory_limit='128M'\nx=\"\"", ini.text(list))
    assert.equal("display_errors='0'\nmemory_limit='128M'\nx=\"\"", ini.text(list, {}))
    assert.equal("", ini.text({}))
  end)

  it("has the decision's value behind the backend's, which holds where PHP refuses the other",
    function()
      assert.equal("display_errors='0'\nmemory_limit='128M'\nmemory_limit='256M'\nx=\"\"",
        ini.text(list, { memory_limit = "256M" }))
      assert.equal("display_errors='0'\ndisplay_errors='1'\nmemory_limit='128M'\nx=\"\"\nx='0'",
        ini.text(list, { display_errors = true, x = false }))
    end)

  it("has empty values as PHP reads them", function()
    assert.equal("a='1'\na=\"\"", ini.text(ini.list({ a = 1 }), { a = "" }))
  end)

  it("has no quotes around PHP's kinds of errors, which are 0 within them", function()
    local masks = ini.list({ error_reporting = "E_ALL & ~E_NOTICE" })
    assert.equal("error_reporting=E_ALL & ~E_NOTICE", ini.text(masks))
    assert.equal("error_reporting=E_ALL & ~E_NOTICE\nerror_reporting=E_ALL",
      ini.text(masks, { error_reporting = "E_ALL" }))
    assert.equal("error_reporting=E_ALL & ~E_NOTICE\nerror_reporting='0'",
      ini.text(masks, { error_reporting = 0 }))
    assert.equal("agent='E_ALL; x=1'\nhalt=E_WARNING|E_NOTICE",
      ini.text(ini.list({ agent = "E_ALL; x=1", halt = "E_WARNING|E_NOTICE" })))
  end)

  it("says an equal value once", function()
    assert.equal(ini.text(list), ini.text(list, { memory_limit = "128M", display_errors = 0 }))
  end)
end)

describe("ini.foreign", function()
  local backend = { name = "app", ini = ini.list({ memory_limit = "128M" }) }

  it("names what the backend does not", function()
    assert.is_nil(ini.foreign({}, backend))
    assert.is_nil(ini.foreign({ memory_limit = "1G" }, backend))
    assert.equal("'memory_limt' is not in the 'ini' of backend 'app', which must name every "
      .. "setting and its value for other requests, since PHP-FPM's processes keep the last one "
      .. "that they saw; did you mean 'memory_limit'?",
      ini.foreign({ memory_limt = "1G" }, backend))
  end)
end)

describe("ini.difference", function()
  it("is the first name that only one list has", function()
    local function names(...)
      local t = {}
      for _, name in ipairs({ ... }) do
        t[name] = "x"
      end
      return ini.list(t)
    end
    assert.is_nil(ini.difference({}, {}))
    assert.is_nil(ini.difference(names("a", "b"), names("b", "a")))
    assert.equal("a", ini.difference(names("a"), {}))
    assert.equal("a", ini.difference({}, names("a")))
    assert.equal("b", ini.difference(names("a", "c"), names("a", "b", "c")))
    assert.equal("b", ini.difference(names("a", "b", "c"), names("a", "c")))
  end)
end)

describe("ini.dropped", function()
  local function backend(name, settings, ...)
    local servers = {}
    for i, address in ipairs({ ... }) do
      servers[i] = { address = address }
    end
    return { name = name, ini = ini.list(settings), servers = servers }
  end

  local function dropped(before, after)
    return ini.dropped(ini.record(before), after)
  end

  it("is nothing where all is sent as before, or more", function()
    local app = backend("app", { a = 1, b = 2 }, "h:1", "unix:/a b")
    assert.is_nil(dropped({ app }, { app }))
    assert.is_nil(dropped({ app }, { backend("app", { a = 1, b = 5, c = 1 }, "h:1", "unix:/a b") }))
    assert.is_nil(dropped({ backend("app", {}, "h:1") }, { app }))
    assert.is_nil(dropped({}, { app }))
    assert.is_nil(ini.dropped("", { app }))
  end)

  it("is nothing of servers that are asked no more", function()
    assert.is_nil(dropped({ backend("app", { a = 1 }, "h:1") }, {}))
    assert.is_nil(dropped({ backend("app", { a = 1 }, "h:1") }, { backend("app", {}, "h:2") }))
  end)

  it("names settings and servers, and says what to do", function()
    assert.equal("'ini' no longer names 'a' (backend 'app' at h:1): PHP-FPM's processes there keep "
      .. "the value that they were sent last, for every request; restart PHP-FPM there, or name "
      .. "the setting again with a value for all",
      dropped({ backend("app", { a = 1, b = 2 }, "h:1") }, { backend("app", { b = 2 }, "h:1") }))
  end)

  it("goes by the server, whatever its backend is called", function()
    local before = { backend("one", { a = 1, b = 2 }, "h:1"), backend("two", { c = 1 }, "h:2") }
    assert.matches("names 'a', 'b', 'c' %(backend 'new' at h:1, h:2%):",
      dropped(before, { backend("new", { d = 1 }, "h:1", "h:2", "h:3") }))
    assert.matches("names 'c' %(backend 'new' at h:2%):",
      dropped(before, { backend("new", { a = 1, b = 1 }, "h:1", "h:2") }))
  end)

  it("is told once where backends share a server", function()
    assert.matches("names 'a' %(backend 'one' at h:1%), 'a' %(backend 'two' at h:2%):",
      dropped({ backend("one", { a = 1 }, "h:1"), backend("two", { a = 1 }, "h:1", "h:2") },
        { backend("one", {}, "h:1"), backend("two", {}, "h:1", "h:2") }))
  end)

  it("is cut where it would be long", function()
    local settings, before, after = {}, {}, {}
    for i = 1, 9 do
      settings["s" .. i] = i
    end
    for i = 1, 5 do
      local name, address = "b" .. i, "h:" .. i
      before[i] = backend(name, settings, address .. 1, address .. 2, address .. 3, address .. 4)
      after[i] = backend(name, {}, address .. 1, address .. 2, address .. 3, address .. 4)
    end
    assert.matches("names 's1', 's2', 's3' and 6 more %(backend 'b1' at h:11, h:12, h:13 and 1 "
      .. "more%), .* and 2 more: PHP%-FPM's", dropped(before, after))
  end)
end)
