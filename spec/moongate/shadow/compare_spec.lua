-- Specs of moongate.shadow.compare.

local compare = require("moongate.shadow.compare")
local messages = require("moongate.base.messages")

describe("moongate.shadow.compare", function()
  local NAMES = { "Content-Type", "Location" }

  local function answer(fields)
    local all = { status = 200, headers = { ["content-type"] = "text/html" }, stderr = "",
      length = 3, crc32 = 7 }
    for key, value in pairs(fields or {}) do
      all[key] = value
    end
    return all
  end

  --- Findings as "kind: text (detail)".
  local function words(old, new, again)
    local list = {}
    local findings, varies = compare.findings(answer(old), answer(new), again and answer(again),
      NAMES, messages)
    for i, finding in ipairs(findings) do
      list[i] = ("%s: %s%s"):format(finding.kind, finding.text,
        finding.detail and (" (%s)"):format(finding.detail) or "")
    end
    return list, varies
  end

  it("finds nothing where nothing differs", function()
    assert.same({}, (words()))
    assert.same({}, (words({ headers = { ["Content-Type"] = "text/html", ["X-Id"] = "1" } })))
    assert.is_false(compare.may_vary(answer(), answer({ status = 500 }), NAMES))
  end)

  it("knows worse statuses from others", function()
    for new, kind in pairs({
      [500] = "error", [503] = "error", [404] = "error", [302] = "status",
    }) do
      assert.same({ kind .. ": 200 -> " .. new }, (words(nil, { status = new, length = 0 })))
    end
    assert.same({ "status: 500 -> 200" }, (words({ status = 500 }, nil)))
    assert.same({ "status: 404 -> 403" }, (words({ status = 404 }, { status = 403 })))
    assert.same({ "error: 404 -> 500" }, (words({ status = 404 }, { status = 500 })))
  end)

  it("compares headers by their names, and bodies by length and checksum", function()
    assert.same({ "header: Location (/a -> none)" },
      (words({ headers = { ["Content-Type"] = "text/html", Location = "/a" } })))
    assert.same({ "body: other bytes (3 bytes -> 4 bytes)" }, (words(nil, { length = 4 })))
    assert.same({ "body: other bytes (3 bytes -> 3 bytes)" }, (words(nil, { crc32 = 8 })))
    assert.same({}, (words({ length = false }, { length = 4 }))) -- not known
    assert.is_true(compare.may_vary(answer(), answer({ crc32 = 8 }), NAMES))
  end)

  it("leaves out what differs between two copies", function()
    local list, varies = words(nil, { crc32 = 8 }, { crc32 = 9 })
    assert.same({}, list)
    assert.is_true(varies)
    list, varies = words(nil, { crc32 = 8 }, { crc32 = 8 })
    assert.same({ "body: other bytes (3 bytes -> 3 bytes)" }, list)
    assert.is_false(varies)
    assert.same({}, (words(nil, { headers = { ["content-type"] = "b" } },
      { headers = { ["content-type"] = "c" } })))
  end)

  it("compares messages without their folders", function()
    local function php(level, text, file)
      return ("PHP message: PHP %s:  %s in %s on line 3"):format(level, text, file)
    end
    local old = php("Warning", "one", "/srv/old/x.php")
    assert.same({}, (words({ stderr = old }, { stderr = php("Warning", "one", "/srv/new/x.php") })))
    assert.same({
      "fatal: PHP Fatal error: two in /srv/new/x.php:3",
      "gone: PHP Warning: one in /srv/old/x.php:3",
    }, (words({ stderr = old }, { stderr = php("Fatal error", "two", "/srv/new/x.php") })))
    assert.same({ "deprecated: PHP Deprecated: three in /x.php:3" },
      (words(nil, { stderr = php("Deprecated", "three", "/x.php") .. "; "
        .. php("Deprecated", "three", "/x.php") })))
    local ok = pcall(words, { stderr = false }, { stderr = old })
    assert.is_true(ok)
  end)

  it("does not take a message that was cut for another one", function()
    local line = ("a message of an application %s\n"):format(("x"):rep(70))
    local long = line:rep(60)
    assert.same({}, (words({ stderr = long:sub(1, 4096) }, { stderr = long })))
  end)
end)
