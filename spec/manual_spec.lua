-- Specs of tools/manual: the manual pages and the completions have every command, option, setting
-- and hook, as the program itself lists them.

package.path = "./tools/?.lua;" .. package.path

local program = require("support.program")
local upcoming

describe("the manual", function()
  local about, schema

  setup(function()
    program.install(program.core())
    about = {
      version = "1.2.3", date = "2026-01-02", commands = require("moongate.cli.commands").list(),
    }
    schema = require("moongate.route.schema")
    upcoming = require("moongate.base.upcoming")
  end)
  teardown(function()
    program.install(nil)
    for name in pairs(package.loaded) do
      if name:find("^manual%.") then
        package.loaded[name] = nil
      end
    end
  end)

  local function text(kind)
    return require("manual." .. kind).text(about)
  end

  -- A name as a pattern.
  local function escaped(name)
    return (name:gsub("%-", "%%-"))
  end

  local function plain(page)
    return (page:gsub("\\f[BIR]", ""):gsub("\\%-", "-"):gsub("\\%(aq", "'"))
  end

  it("has each command with its options", function()
    local page = plain(text("commands_page"))
    assert.truthy(page:find('.TH MOONGATE 1 2026-01-02 "moongate 1.2.3"', 1, true))
    for _, command in ipairs(about.commands) do
      local section = page:match("\n%.SS moongate (" .. escaped(command.name)
        .. ".-)\n%.S[SH]")
      assert.truthy(section, command.name)
      for _, option in ipairs(command.options) do
        assert.truthy(section:find("\n" .. option.name, 1, true), command.name .. option.name)
      end
    end
  end)

  it("has each setting, and says something of it", function()
    local page = plain(text("route_page"))
    for name, keys in pairs({ SETTINGS = schema.TOP, LIMITS = schema.LIMITS,
      BACKENDS = schema.BACKEND, LISTENERS = schema.LISTENER }) do
      local section = page:match("\n%.SH " .. name .. "\n(.-)\n%.SH")
      for key in pairs(keys) do
        if not key:find("^on_") and not upcoming.settings[key] and not upcoming.backend[key] then
          assert.truthy(("\n" .. section):find("\n.TP\n" .. key .. "[ \n]"), name .. " " .. key)
        end
      end
    end
    for term in page:match("\n%.SH SETTINGS\n(.-)\n%.SH HOOKS"):gmatch("%.TP\n([^\n]*)\n%.TP") do
      error("nothing is said of " .. term)
    end
    assert.truthy(page:find("\non_balance(req, servers, attempt)\n", 1, true))
  end)

  it("leaves nothing to roff that is a text's", function()
    local roff = require("manual.roff")
    assert.equal("\\&.x \\ea\\-b\n\\&.y \\(aq\\[u2026]", roff.escape(".x \\a-b\n.y '…"))
    assert.equal("a \\fBb\\-c\\fR d", roff.prose("a `b-c` d"))
    assert.equal(".PP\none\ntwo\n.PP\n.nf\n  three\n\n    four\n.fi\n.PP\nfive\n",
      roff.paragraphs("one\ntwo\n\n  three\n\n    four\n\nfive\n"))
  end)

  for _, kind in ipairs({ "bash", "zsh", "fish" }) do
    it("completes each command and option in " .. kind, function()
      local script = text(kind)
      for _, command in ipairs(about.commands) do
        assert.truthy(script:find("[ '(]" .. escaped(command.name) .. "[:) ']"), command.name)
        for _, option in ipairs(command.options) do
          local name = option.name:match("^%-*(%S+)")
          assert.truthy(script:find("[- ]" .. escaped(name) .. "[ '%[]"), option.name)
        end
      end
    end)
  end
end)
