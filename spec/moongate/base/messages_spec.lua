-- Specs of moongate.base.messages. What is said to come from PHP was sent by PHP-FPM 8.2, with
-- the paths made shorter.

local messages = require("moongate.base.messages")

--- A message as one line of its parts, for tables that can be read.
local function short(message)
  return ("%s|%s|%s|%s"):format(message.level, message.text, message.file or "-",
    message.line or "-")
end

local function parsed(text)
  local list = {}
  for i, message in ipairs(messages.parse(text)) do
    list[i] = short(message)
  end
  return list
end

--- How long a call takes, in seconds of this process.
local function seconds(call, ...)
  local start = os.clock()
  call(...)
  return os.clock() - start
end

local FATAL = "PHP message: PHP Fatal error:  "
  .. "Uncaught RuntimeException: broken in /srv/www/a.php:2\n"
  .. "Stack trace:\n#0 /srv/www/a.php(3): f()\n#1 {main}\n  thrown in /srv/www/a.php on line 2"
local FATAL_TEXT = "Uncaught RuntimeException: broken in /srv/www/a.php:2\n"
  .. "Stack trace:\n#0 /srv/www/a.php(3): f()\n#1 {main}"

describe("messages.parse of PHP-FPM", function()
  local CASES = {
    ["a warning"] = {
      "PHP message: PHP Warning:  Undefined variable $x in /srv/www/a.php on line 2",
      "warning|Undefined variable $x|/srv/www/a.php|2",
    },
    ["a notice with a semicolon"] = {
      "PHP message: PHP Notice:  a notice; with semicolon in /srv/www/a.php on line 2",
      "notice|a notice; with semicolon|/srv/www/a.php|2",
    },
    ["two deprecations"] = {
      "PHP message: PHP Deprecated:  strlen(): Passing null to parameter #1 ($string) of type "
        .. "string is deprecated in /srv/www/a.php on line 2; "
        .. "PHP message: PHP Deprecated:  Function "
        .. "utf8_encode() is deprecated in /srv/www/a.php on line 3",
      "deprecated|strlen(): Passing null to parameter #1 ($string) of type string is deprecated"
        .. "|/srv/www/a.php|2",
      "deprecated|Function utf8_encode() is deprecated|/srv/www/a.php|3",
    },
    ["a parse error"] = {
      "PHP message: PHP Parse error:  syntax error, unexpected token \"if\", expecting \",\" or "
        .. "\";\" in /srv/www/a.php on line 3",
      "parse|syntax error, unexpected token \"if\", expecting \",\" or \";\"|/srv/www/a.php|3",
    },
    ["no memory"] = {
      "PHP message: PHP Fatal error:  Allowed memory size of 4194304 bytes exhausted (tried to "
        .. "allocate 100003840 bytes) in /srv/www/a.php on line 2",
      "fatal|Allowed memory size of 4194304 bytes exhausted (tried to allocate 100003840 bytes)"
        .. "|/srv/www/a.php|2",
    },
    ["an exception that nobody caught"] = { FATAL, "fatal|" .. FATAL_TEXT .. "|/srv/www/a.php|2" },
    ["an exception that came of another"] = {
      "PHP message: PHP Fatal error:  Uncaught LogicException: inner in /srv/www/a.php:2\n"
        .. "Stack trace:\n#0 {main}\n\nNext RuntimeException: outer in /srv/www/b.php:7\n"
        .. "Stack trace:\n#0 {main}\n  thrown in /srv/www/b.php on line 7",
      "fatal|Uncaught LogicException: inner in /srv/www/a.php:2\nStack trace:\n#0 {main}\n\n"
        .. "Next RuntimeException: outer in /srv/www/b.php:7\nStack trace:\n#0 {main}"
        .. "|/srv/www/b.php|7",
    },
    ["a file that is not there"] = {
      "PHP message: PHP Warning:  require(missing.php): Failed to open stream: No such file or "
        .. "directory in /srv/www/a.php on line 2; PHP message: PHP Fatal error:  Uncaught Error: "
        .. "Failed opening required 'missing.php' (include_path='.:/usr/share/php') in "
        .. "/srv/www/a.php:2\nStack trace:\n#0 {main}\n  thrown in /srv/www/a.php on line 2",
      "warning|require(missing.php): Failed to open stream: No such file or directory"
        .. "|/srv/www/a.php|2",
      "fatal|Uncaught Error: Failed opening required 'missing.php' "
        .. "(include_path='.:/usr/share/php') in /srv/www/a.php:2\nStack trace:\n#0 {main}"
        .. "|/srv/www/a.php|2",
    },
    ["a text of several lines among others"] = {
      "PHP message: plain; text; PHP message: PHP Deprecated:  multi\nline\ttab in /srv/www/a.php "
        .. "on line 5; PHP message: PHP Fatal error:  the end in /srv/www/a.php on line 6",
      "info|plain; text|-|-",
      "deprecated|multi\nline\ttab|/srv/www/a.php|5",
      "fatal|the end|/srv/www/a.php|6",
    },
    ["error_log(), also with nothing, control bytes and what looks like a place"] = {
      "PHP message: one; PHP message: a\nb\nc; PHP message: x; PHP message: y; PHP message: ctl "
        .. "\1\27[31mred\127; PHP message: ; PHP message: [info] in /x.php on line 5; "
        .. "PHP message: tail\n",
      "info|one|-|-", "info|a\nb\nc|-|-", "info|x|-|-", "info|y|-|-",
      "info|ctl \1\27[31mred\127|-|-", "info|[info] in /x.php on line 5|-|-", "info|tail|-|-",
    },
    ["code from eval()"] = {
      "PHP message: PHP Warning:  Undefined variable $y in /srv/www/a.php(2) : eval()'d code "
        .. "on line 1",
      "warning|Undefined variable $y in eval()'d code on line 1|/srv/www/a.php|2",
    },
    ["a folder whose name looks like a place"] = {
      "PHP message: PHP Warning:  Undefined $x in /srv/made in x/with on line 9.php on line 2",
      "warning|Undefined $x|/srv/made in x/with on line 9.php|2",
    },
    ["a folder with a semicolon"] = {
      "PHP message: PHP Warning:  Undefined $x in /srv/semi; colon/a.php on line 2; "
        .. "PHP message: PHP Notice:  n in /srv/semi; colon/a.php on line 3",
      "warning|Undefined $x|/srv/semi; colon/a.php|2",
      "notice|n|/srv/semi; colon/a.php|3",
    },
    ["an archive"] = {
      "PHP message: PHP Warning:  a in b in phar:///srv/x.phar/c.php on line 12",
      "warning|a in b|phar:///srv/x.phar/c.php|12",
    },
    ["a script that is not there"] = {
      "Primary script unknown", "error|Primary script unknown|-|-",
    },
    ["a script that is none"] = {
      "Access to the script '/srv/www/a.txt' has been denied (see security.limit_extensions)",
      "error|Access to the script '/srv/www/a.txt' has been denied (see security.limit_extensions)"
        .. "|/srv/www/a.txt|-",
    },
    ["a script that can't be read"] = {
      "PHP message: PHP Warning:  PHP Request Startup: Failed to open stream: Permission denied in "
        .. "Unknown on line 0; "
        .. "Unable to open primary script: /srv/www/a (b).php (Permission denied)",
      "warning|PHP Request Startup: Failed to open stream: Permission denied|-|-",
      "error|Unable to open primary script: /srv/www/a (b).php (Permission denied)"
        .. "|/srv/www/a (b).php|-",
    },
    ["a text of lines of which only the first names a place"] = {
      "PHP message: PHP Notice:  a in /b\nc on line 3", "notice|a in /b\nc on line 3|-|-",
    },
    ["the second record of a request"] = { "; PHP message: second", "info|second|-|-" },
    ["messages of PHP 7.0 to 8.2.1, with nothing between them"] = {
      "PHP message: PHP Warning:  w in /srv/www/a.php on line 7PHP message: PHP Notice:  n in "
        .. "/srv/www/a.php on line 8PHP message: saidPHP message: PHP Fatal error:  Uncaught "
        .. "E: e in /srv/www/a.php:2\nStack trace:\n#0 {main}\n  thrown in /srv/www/a.php on line 2"
        .. "PHP message: last",
      "warning|w|/srv/www/a.php|7", "notice|n|/srv/www/a.php|8", "info|said|-|-",
      "fatal|Uncaught E: e in /srv/www/a.php:2\nStack trace:\n#0 {main}|/srv/www/a.php|2",
      "info|last|-|-",
    },
    ["messages of such a PHP, with line ends between them"] = {
      "\nPHP message: PHP Warning:  w\nof two lines in /a.php on line 7\nPHP message: PHP message: "
        .. "is how they begin\nPHP message: one; two\n",
      "warning|w\nof two lines|/a.php|7", "info|PHP message: is how they begin|-|-",
      "info|one; two|-|-",
    },
    ["a message of such a PHP that was cut, behind one of PHP-FPM's own"] = {
      "Primary script unknownPHP message: PHP Warning:  long...PHP message: next",
      "error|Primary script unknown|-|-", "warning|long...|-|-", "info|next|-|-",
    },
    ["the words of a joint in a message of a PHP that joins them"] = {
      "PHP message: got 'PHP message: x'; PHP message: (PHP message: y)",
      "info|got 'PHP message: x'|-|-", "info|(PHP message: y)|-|-",
    },
    ["the words in a line of another application"] = {
      "app: [PHP message: x]\n(PHP message: y)", "error|app: [PHP message: x]|-|-",
      "error|(PHP message: y)|-|-",
    },
    ["a text that was cut before it began"] = {
      "g text; PHP message: PHP Notice:  n in /a.php on line 1",
      "error|g text|-|-", "notice|n|/a.php|1",
    },
    ["levels that are rare"] = {
      "PHP message: PHP Recoverable fatal error:  r in /a.php on line 1; PHP message: "
        .. "PHP Strict Standards:  s in /a.php on line 2; PHP message: PHP Unknown error:  u in "
        .. "/a.php on line 3; PHP message: PHP Something:  else in /a.php on line 4",
      "fatal|r|/a.php|1", "notice|s|/a.php|2", "error|u|/a.php|3",
      "info|PHP Something:  else in /a.php on line 4|-|-",
    },
  }
  for name, case in pairs(CASES) do
    it("knows " .. name, function()
      local expected = {}
      for i = 2, #case do
        expected[i - 1] = case[i]
      end
      assert.same(expected, parsed(case[1]))
    end)
  end

  it("keeps what was cut at 1024 bytes, with the place of an exception that is in it", function()
    local cut = "PHP message: PHP Warning:  " .. ("long "):rep(197) .. "lo..."
    assert.same({
      { level = "warning", text = ("long "):rep(197) .. "lo..." },
      { level = "info", text = "next" },
    }, messages.parse(cut .. "; PHP message: next"))
    local trace = FATAL:sub(1, FATAL:find("#1", 1, true) - 1) .. "#1 /srv/www/b.p..."
    local found = messages.parse(trace)
    assert.equal(1, #found)
    assert.same({ "fatal", "/srv/www/a.php", 2 }, { found[1].level, found[1].file, found[1].line })
    assert.truthy(found[1].text:find("#1 /srv/www/b.p...", 1, true))
  end)

  it("lets no client write messages through the name of a script", function()
    for _, text in ipairs({
      "Unable to open primary script: /srv/a; PHP message: PHP Fatal error:  x in /b on line 1.php"
        .. " (No such file or directory)",
      "; Unable to open primary script: /srv/a; PHP message: x (Permission denied)",
      "Access to the script '/srv/a\nPHP Fatal error:  x in /b on line 1; Primary script unknown'"
        .. " has been denied (see security.limit_extensions)",
    }) do
      local found = messages.parse(text)
      assert.equal(1, #found)
      assert.same({ "error", (text:gsub("^; ", "")) }, { found[1].level, found[1].text })
      assert.equal("/srv/a", found[1].file:sub(1, 6))
    end
  end)
end)

describe("messages.parse of other applications", function()
  it("takes one message from each line, and those that belong to it", function()
    assert.same({
      "error|first|-|-",
      "error|Traceback (most recent call last):\n  File \"/app/x.py\", line 3, in <module>\n"
        .. "    f()|-|-",
      "error|ValueError: in /app/x.py on line 3|-|-",
      "error|last; one|-|-",
    }, parsed("first\nTraceback (most recent call last):\n  File \"/app/x.py\", line 3, in "
      .. "<module>\n    f()\nValueError: in /app/x.py on line 3\n\nlast; one\n"))
    assert.same({ "error|a\n#0 b\n\tc|-|-", "error|d|-|-" }, parsed("a\n#0 b\n\tc\r\nd"))
  end)

  it("knows the lines of php-cgi", function()
    assert.same({
      "warning|Undefined variable $x|/srv/a.php|3",
      "fatal|" .. FATAL_TEXT .. "|/srv/www/a.php|2",
      "notice|two\nlines|/srv/a.php|4",
      "error|from error_log|-|-",
    }, parsed("PHP Warning:  Undefined variable $x in /srv/a.php on line 3\n"
      .. FATAL:sub(#"PHP message: " + 1)
      .. "\nPHP Notice:  two\nlines in /srv/a.php on line 4\nfrom error_log\n"))
  end)

  it("is nothing where nothing was said", function()
    for _, text in ipairs({ "", "\n", " \t\r\n\n  ", "; PHP message: ", "PHP message: \n" }) do
      assert.same({}, messages.parse(text))
    end
  end)

  it("keeps bytes that are no text", function()
    local bytes = {}
    for code = 0, 255 do
      bytes[#bytes + 1] = string.char(code)
    end
    local text = "x" .. table.concat(bytes):gsub("\n", "") .. "x"
    assert.same({ { level = "error", text = text } }, messages.parse(text))
    assert.same({ { level = "info", text = text } }, messages.parse("PHP message: " .. text))
  end)
end)

describe("messages and hostile texts", function()
  it("makes at most 1000 messages, the last of the rest", function()
    for _, piece in ipairs({ "PHP message: x; ", "line\n", "Primary script unknown; ",
      "PHP message: x", "PHP message: x\n" }) do
      local text = piece:rep(3000)
      local found = messages.parse(text)
      assert.equal(messages.MAX_MESSAGES, #found)
      assert.equal(text:sub(999 * #piece + 1):gsub("%s+$", ""), found[1000].text)
      assert.equal(1000, #messages.parse(piece:rep(1000)))
      assert.equal(999, #messages.parse(piece:rep(999)))
    end
    local lines = messages.parse(("line\n"):rep(2000) .. "; PHP message: end")
    assert.equal("; PHP message: end", lines[1000].text:sub(-18))
  end)

  local PIECES = {
    ";", "\n", "; ", " ", " in ", " in /", " in a:", "(1", "PHP ", "PHP a", "#\n",
    "PHP Warning:  ", "PHP message: ", "; PHP message: ", "aPHP message: ", "\nPHP message: ",
    "; PHP message: PHP Fatal error:  Uncaught ",
    " on line 1", "1", "\nStack trace:", "a\n", "; Primary", "/", "/a", " /a",
    "\1", "\194", "\128",
    "Access to the script '", "; Unable to open primary script: (", "\n ", "' has been denied",
  }
  local HEADS = {
    "", "PHP Fatal error:  ", "PHP message: PHP Fatal error:  Uncaught ",
    "Unable to open primary script: ", "Access to the script '", "PHP " .. ("a"):rep(30000) .. "\n",
  }

  it("takes time in proportion to the text", function()
    local worst, which = 0, nil
    for _, head in ipairs(HEADS) do
      for _, piece in ipairs(PIECES) do
        local text = head .. piece:rep(math.ceil(65536 / #piece)) .. " on line 1"
        local taken = seconds(messages.handle, text, "/a", "/b")
        if taken > worst then
          worst, which = taken, head:sub(1, 40) .. "+" .. piece
        end
      end
    end
    -- Some milliseconds; quadratic it would be tens of seconds, and more under a sanitizer.
    assert.is_true(worst < 1, ("%.2f s for %q"):format(worst, which or ""))
  end)

  it("makes lines without control bytes of everything", function()
    for _, head in ipairs(HEADS) do
      for _, piece in ipairs(PIECES) do
        local text = head .. piece:rep(3000) .. "\127\194\155x"
        for _, line in ipairs(messages.handle(text, "/", "/r")) do
          assert.is_nil(line:find("[%c]"))
          assert.is_nil(line:find("\194[\128-\159]"))
          assert.is_true(#line <= 3500, #line)
        end
      end
    end
  end)
end)

describe("messages.line", function()
  for expected, message in pairs({
    ["PHP Warning: Undefined variable $x in /srv/www/a.php:3"] =
      { level = "warning", text = "Undefined variable $x", file = "/srv/www/a.php", line = 3 },
    ["PHP Notice: n"] = { level = "notice", text = "n" },
    ["PHP Deprecated: d in /a.php:1"] =
      { level = "deprecated", text = "d", file = "/a.php", line = 1 },
    ["PHP Parse error: p in /a.php:35 in /a.php:3"] =
      { level = "parse", text = "p in /a.php:35", file = "/a.php", line = 3 },
    ["said"] = { level = "info", text = "said" },
    ["Primary script unknown"] = { level = "error", text = "Primary script unknown" },
    ["PHP Fatal error: Uncaught X: y in /a.php:5 | Stack trace: | #0 {main}"] = { level = "fatal",
      text = "Uncaught X: y in /a.php:5\nStack trace:\n#0 {main}", file = "/a.php", line = 5 },
    ["Unable to open primary script: /a.php (Permission denied)"] = { level = "error",
      text = "Unable to open primary script: /a.php (Permission denied)", file = "/a.php" },
    ["a | b | c\\td\\x1b[31m\\x00\\x7f App\\Foo é \\xc2\\x9b\\x0d!"] =
      { level = "info", text = "a\r\nb\n\n\t  c\td\27[31m\0\127 App\\Foo é \194\155\r!" },
    ["x in /a\\x01 | b.php:1"] = { level = "info", text = "x", file = "/a\1\nb.php", line = 1 },
    [""] = {}, -- a hook may have taken everything out
  }) do
    it("writes '" .. expected .. "'", function()
      assert.equal(expected, messages.line(message))
    end)
  end

  it("says how much of a long text it leaves out, and keeps the place", function()
    local message = { level = "warning", text = ("x"):rep(5000), file = "/a.php", line = 7 }
    assert.equal("PHP Warning: " .. ("x"):rep(2048) .. " ... (2952 bytes more) in /a.php:7",
      messages.line(message))
    assert.equal(("x"):rep(2048), messages.line({ text = ("x"):rep(2048) }))
    assert.equal(("\\x01"):rep(512) .. " ... (8 bytes more)",
      messages.line({ text = ("\1"):rep(520) }))
  end)

  it("cuts between characters", function()
    assert.equal(("é"):rep(1023) .. "a ... (4 bytes more)",
      messages.line({ text = ("é"):rep(1023) .. "aéé" }))
    assert.equal(("\128"):rep(2045) .. " ... (955 bytes more)",
      messages.line({ text = ("\128"):rep(3000) }))
  end)
end)

describe("messages.map", function()
  local function mapped(text, docroot, root)
    return messages.map({ { level = "info", text = text } }, docroot, root)[1].text
  end

  it("maps files, and whole paths in texts", function()
    local found = messages.map(messages.parse(FATAL), "/srv/www", "/home/ann/site")
    assert.equal("/home/ann/site/a.php", found[1].file)
    assert.equal("Uncaught RuntimeException: broken in /home/ann/site/a.php:2\n"
      .. "Stack trace:\n#0 /home/ann/site/a.php(3): f()\n#1 {main}", found[1].text)
    assert.equal("PHP Fatal error: Uncaught RuntimeException: broken in /home/ann/site/a.php:2 | "
      .. "Stack trace: | #0 /home/ann/site/a.php(3): f() | #1 {main}", messages.line(found[1]))
  end)

  it("does not mind slashes at the end", function()
    assert.equal("/r/x", mapped("/app/x", "/app/", "/r//"))
  end)

  for text, expected in pairs({
    ["/app"] = "/r",
    ["'/app' (/app/x):/app:/app, \"/app/y\""] = "'/r' (/r/x):/r:/r, \"/r/y\"",
    ["/application /app2 /app-old /app.bak /apps/app /srv/app/x x/app/y"] =
      "/application /app2 /app-old /app.bak /apps/app /srv/app/x x/app/y",
    ["/app/app /app/../app"] = "/r/app /r/../app",
    ["%1 /app/%2"] = "%1 /r/%2",
    ["/appé /app\0/"] = "/appé /r\0/",
    [""] = "",
  }) do
    it("maps '" .. text .. "'", function()
      assert.equal(expected, mapped(text, "/app", "/r"))
    end)
  end

  it("does not map what it has mapped", function()
    assert.equal("/app/app/x /app/app", mapped("/app/x /app", "/app", "/app/app"))
    assert.equal("/app/x", mapped("/app/app/x", "/app/app", "/app"))
  end)

  it("maps a whole root", function()
    assert.equal("/jail/a.php: 1 / 2 and/or '/jail/b' http://x </b>",
      mapped("/a.php: 1 / 2 and/or '/b' http://x </b>", "/", "/jail"))
    local found = messages.map({ { level = "notice", text = "", file = "/a.php" } }, "/", "/jail")
    assert.equal("/jail/a.php", found[1].file)
    assert.equal("/a.php", mapped("/jail/a.php", "/jail", "/"))
  end)

  it("leaves files elsewhere, and all where one side is unknown or both are the same", function()
    local message = { level = "notice", text = "x", file = "/application/a.php" }
    assert.equal("/application/a.php", messages.map({ message }, "/app", "/r")[1].file)
    assert.equal("/app/x", mapped("/app/x", nil, "/r"))
    assert.equal("/app/x", mapped("/app/x", "/app", nil))
    assert.equal("/app//x", mapped("/app//x", "/app", "/app/"))
  end)
end)

describe("messages.handle", function()
  local TEXT = "PHP message: PHP Notice:  n in /app/a.php on line 1; PHP message: said"

  it("returns lines for the log", function()
    assert.same({ "PHP Notice: n in /r/a.php:1", "said" }, messages.handle(TEXT, "/app", "/r"))
    assert.same({ "PHP Notice: n in /app/a.php:1", "said" }, messages.handle(TEXT))
    assert.same({}, messages.handle("\n"))
  end)

  it("asks the hook, which may swallow them", function()
    local req, asked = {}, nil
    local function hook(r, list)
      assert.equal(req, r)
      asked = list
      return true
    end
    assert.same({}, messages.handle(TEXT, "/app", "/r", hook, req))
    assert.same({
      { level = "notice", text = "n", file = "/r/a.php", line = 1 },
      { level = "info", text = "said" },
    }, asked)
  end)

  it("hands on a decision of the hook and what completes it, and the lines all the same", function()
    local d = { backend = "spare" }
    local function hook()
      return d, "/x.php", "/info", "a=1"
    end
    local lines, count, levels, decision, a, b, c = messages.handle(TEXT, nil, nil, hook, {})
    assert.equal(2, #lines)
    assert.equal(2, count)
    assert.same({ notice = 1, info = 1 }, levels)
    assert.equal(d, decision)
    assert.same({ "/x.php", "/info", "a=1" }, { a, b, c })
    for _, answer in ipairs({ false, true, nil }) do
      assert.is_nil((select(4, messages.handle(TEXT, nil, nil, function() return answer end, {}))))
    end
  end)

  it("logs what the hook leaves, unless it says true", function()
    assert.equal(2, #messages.handle(TEXT, nil, nil, function() return false end, {}))
    assert.equal(2, #messages.handle(TEXT, nil, nil, function() end, {}))
    for _, answer in ipairs({ 1, "true" }) do
      local ok, message = pcall(messages.handle, TEXT, nil, nil, function() return answer end, {})
      assert.is_false(ok)
      assert.matches("^expected true, false, a decision or nothing as its result, got ", message)
    end
    for _, left in ipairs({ 5, {}, { text = 1 } }) do
      local ok, message = pcall(messages.handle, TEXT, nil, nil, function(_, list)
        list[2] = left
      end, {})
      assert.is_false(ok)
      assert.matches("^it changed messages%[2%]: expected a table with a text, got ",
        message)
    end
    assert.same({ "PHP Notice: n" }, messages.handle(TEXT, nil, nil, function(_, list)
      list[1].file, list[2] = nil, nil
    end, {}))
  end)

  it("does not ask about nothing, and passes the hook's error on", function()
    local function fail()
      error("hook broke", 0)
    end
    assert.same({}, messages.handle(" \n", nil, nil, fail, {}))
    assert.has_error(function() messages.handle(TEXT, nil, nil, fail, {}) end, "hook broke")
  end)
end)
