-- Specs of moongate.ini.

local ini = require("moongate.ini")

describe("ini.problem", function()
  it("finds nothing wrong with settings of PHP", function()
    assert.is_nil(ini.problem({}))
    assert.is_nil(ini.problem({
      memory_limit = "128M", ["date.timezone"] = "Europe/Berlin", max_execution_time = 30,
      display_errors = false, log_errors = true, error_prepend_string = "",
      open_basedir = "/srv/a b:/tmp", ["session.save_path"] = 'tcp://h?auth="x";y=${z}\\',
    }))
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
      { "a", "1" }, { "b", "0" }, { "c", "30" }, { "d", "0.5" }, { "e", "9007199254740991" },
      { "f", "x" }, { "g", "-1" },
    }, ini.list({ f = "x", e = 2 ^ 53 - 1, d = 0.5, c = 30, b = false, a = true, g = -1 }))
  end)
end)

describe("ini.text", function()
  local list = ini.list({ memory_limit = "128M", display_errors = false, x = "" })

  it("has every setting of the backend", function()
    assert.equal("display_errors='0'\nmemory_limit='128M'\nx=''", ini.text(list))
    assert.equal("display_errors='0'\nmemory_limit='128M'\nx=''", ini.text(list, {}))
    assert.equal("", ini.text({}))
  end)

  it("has the decision's value behind the backend's, which holds where PHP refuses the other",
    function()
      assert.equal("display_errors='0'\nmemory_limit='128M'\nmemory_limit='256M'\nx=''",
        ini.text(list, { memory_limit = "256M" }))
      assert.equal("display_errors='0'\ndisplay_errors='1'\nmemory_limit='128M'\nx=''\nx='0'",
        ini.text(list, { display_errors = true, x = false }))
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
