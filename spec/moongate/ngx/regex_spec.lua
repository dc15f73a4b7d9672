-- Specs of moongate.ngx.regex, with patterns of Lua in place of PCRE2's: what is made of matches.
-- What PCRE2 finds is in tests/integration/62-resty_spec.lua.

describe("regex", function()
  local regex, compiled

  before_each(function()
    compiled = {}
    package.loaded["moongate.core"] = {
      pattern = function(source, options)
        compiled[#compiled + 1] = options .. ":" .. source
        if source == "wrong" then
          return nil, "it is wrong"
        end
        return {
          search = function(_, text, init, captures)
            if text == "slow" then
              return nil, "match limit exceeded"
            end
            local from, to, one = text:find(source, init)
            if init > #text + 1 or not from then
              return nil
            elseif captures then
              captures[0], captures[1] = text:sub(from, to), one or false
            end
            return from, to, to
          end,
        }
      end,
    }
    package.loaded["moongate.ngx.regex"] = nil
    regex = require("moongate.ngx.regex")
  end)

  after_each(function()
    package.loaded["moongate.core"] = nil
    package.loaded["moongate.ngx.regex"] = nil
  end)

  it("compiles a pattern once for its options, and keeps 200", function()
    regex.find("a", "a", "jo")
    regex.find("b", "a", "jo")
    regex.find("b", "a")
    assert.same({ "jo:a", ":a" }, compiled)
    for i = 1, 200 do
      regex.find("a", "x" .. i)
    end
    regex.find("a", "a", "jo")
    assert.equal(203, #compiled)
  end)

  it("passes reasons on", function()
    local reason = "ngx.re: 'wrong': it is wrong"
    assert.same({ nil, reason }, { regex.match("a", "wrong") })
    assert.same({ nil, nil, reason }, { regex.find("a", "wrong") })
    assert.same({ nil, reason }, { regex.gmatch("a", "wrong") })
    assert.same({ nil, nil, reason }, { regex.gsub("a", "wrong", "") })
    reason = "match limit exceeded"
    assert.same({ nil, reason }, { regex.match("slow", "a") })
    assert.same({ nil, nil, reason }, { regex.find("slow", "a") })
    assert.same({ nil, reason }, { regex.gmatch("slow", "a")() })
    assert.same({ nil, nil, reason }, { regex.sub("slow", "a", "") })
  end)

  it("searches from ctx.pos, and moves it", function()
    local ctx = { pos = 2 }
    assert.same({ [0] = "a1", "1" }, regex.match("a0a1a2", "a(%d)", nil, ctx))
    assert.equal(5, ctx.pos)
    assert.same({ 5, 6 }, { regex.find("a0a1a2", "a%d", nil, ctx) })
    assert.equal(7, ctx.pos)
    local filled = { "old", x = 1 }
    assert.equal(filled, regex.match("b", "b", nil, nil, filled))
    assert.same({ [0] = "b", false, x = 1 }, filled)
  end)

  it("goes on behind each match, one character behind an empty one", function()
    local list = {}
    for found in regex.gmatch("abab", "a") do
      list[#list + 1] = found[0]
    end
    assert.same({ "a", "a" }, list)
    assert.same({ "-a--c-", 4 }, { regex.gsub("abc", "b*", "-") })
    assert.same({ "-\195\169-", 2 }, { regex.gsub("\195\169", "x*", "-", "u") })
    assert.same({ "-\195-\169-", 3 }, { regex.gsub("\195\169", "x*", "-") })
  end)

  it("fills in captures", function()
    assert.same({ "[1]$1", 1 }, { regex.sub("1", "(%d)", "[${1}]$$$0") })
    assert.same({ "<>", 1 }, { regex.sub("1", "%d", "<$1>") })
    assert.same({ "2", 1 }, { regex.sub("1", "%d", function(m) return m[0] + 1 end) })
    assert.matches("invalid capturing variable", (select(3, regex.sub("1", "%d", "$x"))))
    assert.matches("invalid capturing variable", (select(3, regex.sub("1", "%d", "${1"))))
    assert.equal("x", (regex.sub("x", "%d", "$x")))
  end)
end)
