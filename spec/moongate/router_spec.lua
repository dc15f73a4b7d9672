-- Specs of moongate.router.

local req = require("support.req")
local router = require("moongate.router")

--- A decision that can be told from others.
local function reply(body)
  return { status = 200, body = body }
end

describe("a router", function()
  --- The body of what a router decides about a request.
  local function ask(r, target, fields)
    local d = r(req.get(target, fields))
    return d and d.body
  end

  it("decides by exact path", function()
    local r = router.new():path("/a", reply("a")):path("/b", reply("b"))
    assert.equal("a", ask(r, "/a"))
    assert.equal("b", ask(r, "/b"))
    assert.is_nil(ask(r, "/c"))
    assert.is_nil(ask(r, "/a/"))
  end)

  it("decides by the longest prefix", function()
    local r = router.new():path("/*", reply("all")):path("/shop/*", reply("shop"))
      :path("/shop/cart/*", reply("cart"))
    assert.equal("all", ask(r, "/"))
    assert.equal("all", ask(r, "/shopping"))
    assert.equal("shop", ask(r, "/shop/"))
    assert.equal("shop", ask(r, "/shop/x/y"))
    assert.equal("shop", ask(r, "/shop"))
    assert.equal("cart", ask(r, "/shop/cart"))
    assert.equal("cart", ask(r, "/shop/cart/7"))
  end)

  it("decides by host, exact before the longest wildcard", function()
    local r = router.new():host("*.example.test", reply("wild")):host("a.example.test", reply("a"))
      :host("*.b.example.test", reply("b"))
    assert.equal("a", ask(r, "/", { host = "a.example.test" }))
    assert.equal("wild", ask(r, "/", { host = "x.example.test" }))
    assert.equal("wild", ask(r, "/", { host = "x.y.example.test" }))
    assert.equal("b", ask(r, "/", { host = "x.b.example.test" }))
    assert.equal("wild", ask(r, "/", { host = "b.example.test" }))
    assert.is_nil(ask(r, "/", { host = "example.test" }))
    assert.is_nil(ask(r, "/", { host = ".example.test" }))
    assert.is_nil(r({ path = "/", method = "GET" }))
  end)

  it("takes names of hosts in any letter case", function()
    assert.equal("x", ask(router.new():host("Example.TEST.", reply("x")), "/",
      { host = "example.test" }))
  end)

  it("decides by patterns in their order, and by method", function()
    local r = router.new():match("%.php$", reply("php")):match("^/a", reply("a"))
      :method("POST", reply("post")):method({ "PUT", "DELETE" }, reply("change"))
    assert.equal("php", ask(r, "/a.php"))
    assert.equal("a", ask(r, "/ab"))
    assert.equal("post", ask(r, "/x", { method = "POST" }))
    assert.equal("change", ask(r, "/x", { method = "DELETE" }))
    assert.is_nil(ask(r, "/x"))
  end)

  it("lets the most specific rule win, whatever the order of the lines", function()
    local r = router.new({ default = reply("default") })
      :method("GET", reply("method")):match("^/a", reply("pattern")):path("/a/*", reply("prefix"))
      :path("/a/b", reply("exact")):host("h.test", reply("host"))
    assert.equal("host", ask(r, "/a/b", { host = "h.test" }))
    assert.equal("exact", ask(r, "/a/b"))
    assert.equal("prefix", ask(r, "/a/c"))
    assert.equal("pattern", ask(r, "/ab"))
    assert.equal("method", ask(r, "/x"))
    assert.equal("default", ask(r, "/x", { method = "POST" }))
  end)

  it("goes on where a handler has no answer", function()
    local function none() end
    local function no()
      return false
    end
    local r = router.new({ default = reply("default") }):host("h.test", none):host("*.test", no)
      :path("/a/b", none):path("/a/b/*", none):path("/a/*", no):match("^/a", none)
      :method("GET", none):use(none)
    assert.equal("default", ask(r, "/a/b", { host = "h.test" }))
    assert.is_nil(ask(router.new():path("/", no), "/"))
  end)

  it("asks `use` first, in order", function()
    local seen = {}
    local r = router.new():path("/a", reply("a"))
      :use(function()
        seen[#seen + 1] = 1
      end)
      :use(function(rq)
        seen[#seen + 1] = 2
        return rq.host == "closed.test" and reply("closed")
      end)
    assert.equal("a", ask(r, "/a"))
    assert.same({ 1, 2 }, seen)
    assert.equal("closed", ask(r, "/a", { host = "closed.test" }))
  end)

  it("hands captures to functions", function()
    local got
    local function take(rq, ...)
      got = { rq.path, ... }
      return reply("x")
    end
    local r = router.new():path("/shop/*", take):match("^/user/(%d+)/(%a+)$", take)
      :host("*.wild.test", take):path("/exact", take)
    ask(r, "/shop/a/b")
    assert.same({ "/shop/a/b", "a/b" }, got)
    ask(r, "/shop")
    assert.same({ "/shop", "" }, got)
    ask(r, "/user/7/edit")
    assert.same({ "/user/7/edit", "7", "edit" }, got)
    ask(r, "/", { host = "a.b.wild.test" })
    assert.same({ "/", "a.b" }, got)
    ask(r, "/exact")
    assert.same({ "/exact" }, got)
  end)

  it("nests", function()
    local inner = router.new():path("/x", reply("inner"))
    local r = router.new({ default = reply("outer") }):host("h.test", inner)
    assert.equal("inner", ask(r, "/x", { host = "h.test" }))
    assert.equal("outer", ask(r, "/y", { host = "h.test" }))
  end)

  it("returns the script's own decision", function()
    local d = reply("x")
    assert.equal(d, router.new():path("/", d)(req.get("/")))
  end)

  describe("explains", function()
    it("which rule decides, and where it is", function()
      local inner = router.new():path("/cart/*", reply("x"))
      local r = router.new({ default = reply("d") }):host("shop.test", inner)
      local text, d = r:explain(req.get("/cart/7", { host = "shop.test" }))
      assert.matches("^host 'shop.test' %(.*router_spec.lua:%d+%) > "
        .. "path '/cart/%*' %(.*router_spec.lua:%d+%)$", text)
      assert.same(reply("x"), d)
      assert.matches("^default %(.*router_spec.lua:%d+%)$", (r:explain(req.get("/"))))
      assert.equal("no rule", (router.new():explain(req.get("/"))))
    end)

    it("and forgets it after an error", function()
      local r = router.new():path("/", function()
        error("broken", 0)
      end):path("/b", reply("b"))
      assert.has_error(function()
        r:explain(req.get("/"))
      end, "broken")
      assert.matches("^path '/b'", (r:explain(req.get("/b"))))
    end)
  end)

  describe("rejects", function()
    for _, case in ipairs({
      { function(r) r:path("a", { status = 404 }) end, "path: 'a' does not begin with \"/\"" },
      { function(r) r:path("/a*", { status = 404 }) end,
        "path: '/a*': \"*\" stands only behind the last \"/\"; see r:match" },
      { function(r) r:path("/*/b", { status = 404 }) end,
        "path: '/*/b': \"*\" stands only behind the last \"/\"; see r:match" },
      { function(r) r:path(nil, { status = 404 }) end,
        "path: expected a path such as \"/about\" or \"/shop/*\", got nothing" },
      { function(r) r:path("/a") end,
        "path: expected a decision, a function or a router as handler, got nothing" },
      { function(r) r:path("/a", "x") end,
        "path: expected a decision, a function or a router as handler, got \"x\"" },
      { function(r) r:host("", { status = 404 }) end,
        "host: expected a name such as \"shop.example\" or \"*.example\", got \"\"" },
      { function(r) r:host("a:80", { status = 404 }) end,
        "host: 'a:80' is neither a host nor \"*.\" and a host" },
      { function(r) r:host("*a", { status = 404 }) end,
        "host: '*a' is neither a host nor \"*.\" and a host" },
      { function(r) r:host("*.*.a", { status = 404 }) end,
        "host: '*.*.a' is neither a host nor \"*.\" and a host" },
      { function(r) r:match("(", { status = 404 }) end, "match: '(': unfinished capture" },
      { function(r) r:match(5, { status = 404 }) end,
        "match: expected a Lua pattern, got 5" },
      { function(r) r:method({}, { status = 404 }) end,
        "method: expected methods such as \"POST\", got none" },
      { function(r) r:method({ 1 }, { status = 404 }) end,
        "method: expected methods such as \"POST\", got 1" },
      { function(r) r:method("get", { status = 404 }) end,
        "method: expected methods in capitals such as \"POST\", got \"get\"" },
      { function(r) r() end, "expected a request, as in r(req), got nothing" },
      { function(r) r:explain(5) end, "explain: expected a request, got 5" },
      { function(r) r:use(1) end,
        "use: expected a decision, a function or a router as handler, got 1" },
      { function(r) r:path("/a", { statsu = 1 }) end,
        "path '/a': unknown key 'statsu' in a decision; did you mean 'status'?" },
      { function() router.new({ default = {} }) end, "default: an empty table is no decision" },
      { function(r) r:prefix("/a", { status = 404 }) end, "there is no method 'prefix'" },
      { function(r) r:paht("/a", { status = 404 }) end,
        "there is no method 'paht'; did you mean 'path'?" },
      { function() router.new({ defualt = {} }) end,
        "unknown key 'defualt'; did you mean 'default'?" },
    }) do
      it(case[2], function()
        local ok, message = pcall(case[1], router.new())
        assert.is_false(ok)
        assert.equal("router: " .. case[2], message:match("router_spec.lua:%d+: (.*)$"))
      end)
    end

    it("what is no table of options", function()
      local kinds = { [print] = "a function", [router.new()] = "a router", x = '"x"' }
      for given, got in pairs(kinds) do
        local ok, message = pcall(function()
          router.new(given)
        end)
        assert.is_false(ok)
        assert.matches("router_spec.lua:%d+: router.new: expected a table such as .*, got " .. got
          .. "$", message)
      end
    end)

    it("two rules for the same thing", function()
      local r = router.new():path("/a", { status = 404 })
      local ok, message = pcall(function()
        r:path("/a", { status = 404 })
      end)
      assert.is_false(ok)
      assert.matches("router: path '/a' is there already, see .*router_spec.lua:%d+$", message)
      assert.has_no_error(function()
        r:path("/a/*", { status = 404 })
      end)
    end)
  end)
end)
