-- Specs of moongate.types: each class names exactly the fields that the code has, so that neither
-- can change alone. What core/ defines is compared in tests/integration/31b-types_spec.lua.

local caching = require("moongate.decision.caching")
local decision = require("moongate.decision")
local schema = require("moongate.route.schema")
local support = require("support.types")
local types = require("moongate.types")
local upcoming = require("moongate.base.upcoming")

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

local classes, aliases, functions = support.parse()

--- A module that needs functions in C, with none of them.
local function modules_of_core(name)
  package.loaded["moongate.core"] = {}
  local module = require("moongate." .. name)
  package.loaded["moongate.core"] = nil
  package.loaded["moongate." .. name], package.loaded["moongate.hash"] = nil, nil
  return module
end

local function assert_names(names, class)
  support.assert_names(names, classes[class], class)
end

describe("the definition files", function()
  it("are Lua", function()
    for name, text in pairs(types.files) do
      assert.is_function(loadstring(types.text(name, "1.2")), name)
      assert.matches("^%-%- Written by `moongate types` of moongate 1.2[^\n]*\n%-%-%-@meta ", types
        .text(name, "1.2"))
      assert.is_nil(text:match("[ \t]\n"))
    end
  end)

  it("name no class that there is not", function()
    for _, text in pairs(types.files) do
      for word in text:gsub("\n%-%-%- [^\n]*", ""):gmatch("[^%w\"]moongate%.[%w.]+") do
        local name = word:sub(2):gsub("%.$", "")
        local is_function = functions.moongate.moongate[name:match("^moongate%.(%l%w*)$")]
        assert.truthy(classes[name] or aliases[name] or is_function, name)
      end
    end
  end)

  it("describe every parameter of a function", function()
    for _, owners in pairs(functions) do
      for _, list in pairs(owners) do
        for name, fn in pairs(list) do
          assert.equal(fn.params, table.concat(fn.comments, ", "), name)
        end
      end
    end
  end)
end)

describe("the classes are those of the code:", function()
  it("settings", function()
    local keys = schema.keys()
    for name, class in pairs({
      route = "moongate.Route", listener = "moongate.Listener", backend = "moongate.Backend",
      server = "moongate.BackendServer", health = "moongate.Health", log = "moongate.LogSettings",
      limits = "moongate.Limits", control = "moongate.Control",
      tracing = "moongate.Tracing",
      cache = "moongate.CacheSettings",
    }) do
      assert_names(keys[name], class)
      keys[name] = nil
    end
    assert.same({}, keys)
  end)

  it("which settings must be there", function()
    for class, list in pairs({
      ["moongate.Route"] = { on_request = true }, ["moongate.Listener"] = { address = true },
      ["moongate.Backend"] = { servers = true }, ["moongate.BackendServer"] = { address = true },
      ["moongate.Health"] = {}, ["moongate.LogSettings"] = {}, ["moongate.Limits"] = {},
      ["moongate.CacheSettings"] = {},
    }) do
      for name, field in pairs(classes[class]) do
        assert.equal(not list[name], field.optional, class .. "." .. name)
      end
    end
  end)

  it("decisions", function()
    for kind, class in pairs({
      fastcgi = "moongate.FastCGI", file = "moongate.File", reply = "moongate.Reply",
      redirect = "moongate.Redirect", close = "moongate.Close",
    }) do
      assert_names(decision.keys(kind), class)
    end
    assert_names(caching.keys(), "moongate.Caching")
  end)

  it("php.site", function()
    local options = require("moongate.php.options")
    for class, set in pairs({ Site = options.KEYS, Static = options.STATIC }) do
      local list = {}
      for key in pairs(set) do
        list[#list + 1] = key
      end
      assert_names(list, "moongate." .. class)
    end
  end)

  it("tenants", function()
    local record = require("moongate.tenants.record")
    local tenants = require("moongate.tenants")
    for class, set in pairs({ Tenant = record.KEYS, TenantsOptions = tenants.KEYS }) do
      local list = {}
      for key in pairs(set) do
        list[#list + 1] = key
      end
      assert_names(list, "moongate." .. class)
    end
  end)

  for module, class in pairs({ proxypass = "ProxyPassOptions", http = "HttpRequest" }) do
    it(module, function()
      local list = {}
      for key in pairs(require("moongate." .. module).KEYS) do
        list[#list + 1] = key
      end
      assert_names(list, "moongate." .. class)
    end)
  end

  it("messages", function()
    local seen = {}
    for _, message in ipairs(require("moongate.base.messages").parse(
      "PHP message: PHP Warning:  text in /a.php on line 1\n")) do
      for key in pairs(message) do
        seen[#seen + 1] = key
      end
    end
    assert_names(seen, "moongate.Message")
  end)

  it("the modules", function()
    local function assert_functions(expected, name, owner)
      for key in pairs(expected) do
        assert.truthy(functions[name][owner][key], name .. ": " .. key)
      end
      for key in pairs(functions[name][owner]) do
        assert.truthy(expected[key] or name == "moongate" and upcoming.library[key],
          name .. ": " .. key)
      end
    end
    local methods = {}
    local new = require("moongate.router").new
    for key in pairs(getmetatable(new())) do
      methods[key] = not key:find("^__") or nil
    end
    assert_functions(methods, "moongate.router", "Router")
    assert_functions({ new = true }, "moongate.router", "router")
    assert_functions({ site = true }, "moongate.php", "php")
    assert_functions({ rate = true, concurrency = true, address = true }, "moongate.limit", "limit")
    assert_functions({ new = true }, "moongate.proxypass", "proxypass")
    assert_functions({ request = true }, "moongate.http", "http")
    assert_functions({ up = true, wait = true, state = true, failover = true, assume = true },
      "moongate.health", "health")
    assert_functions({ split = true }, "moongate.canary", "canary")
    assert_functions({ wrap = true }, "moongate.shadow", "shadow")
    assert_functions({ site = true }, "moongate.tenants", "tenants")
    assert_functions({ new = true }, "moongate.maintenance", "maintenance")
    assert_functions({ wrap = true, always = true, secure = true }, "moongate.headers", "headers")
    assert_functions({ wrap = true }, "moongate.cors", "cors")
    assert_functions({ counter = true, gauge = true, histogram = true }, "moongate.metrics",
      "metrics")
    assert_functions({ inc = true, set = true, observe = true, value = true }, "moongate.metrics",
      "Metric")
    assert_functions({ set = true }, "moongate.net.cidr", "cidr")
    assert_functions({ basic = true, user = true, addresses = true, signed_cookie = true,
      signed_url = true, any = true }, "moongate.auth", "auth")
    assert_functions({ encode = true, decode = true, null = nil }, "moongate.json", "json")
    for _, name in ipairs({ "hash", "random" }) do
      local names = {}
      for key, value in pairs(modules_of_core(name)) do
        names[key] = type(value) == "function" or nil
      end
      assert_functions(names, "moongate." .. name, name)
    end
    assert_functions({ to = true, escape = true, is_file = true, is_folder = true },
      "moongate.rewrite", "rewrite")
    assert_functions({ redirect = true }, "moongate.tls", "tls")
    assert_functions({ load = true }, "moongate.testing", "testing")
    assert_functions({
      request = true, respond = true, stderr = true, fail = true, certificate = true,
    }, "moongate.testing", "Route")
  end)

  it("moongate", function()
    package.loaded["moongate"] = nil
    local given = {}
    package.loaded["moongate.core"] = setmetatable({ version = "1", tcp_methods = {} }, {
      __index = function() return print end,
    })
    for key, value in pairs(getmetatable(require("moongate")).__index) do
      given[key] = type(value)
    end
    package.loaded["moongate"], package.loaded["moongate.core"] = nil, nil
    for key, kind in pairs(given) do
      assert.truthy(kind == "function" and functions.moongate.moongate[key]
        or classes.moongate[key], key)
    end
    for _, set in ipairs({ functions.moongate.moongate, classes.moongate }) do
      for key in pairs(set) do
        assert.truthy(given[key] or upcoming.library[key], key)
      end
    end
  end)
end)

describe("moongate types", function()
  local folders = require("support.folder")
  local program = require("support.program")
  local folder

  before_each(function()
    folder = folders.new("moongate-types")
  end)
  after_each(function()
    folders.remove(folder)
  end)

  local function run(...)
    return program.run(program.core({
      existing = { [folder] = "directory", [folder .. "/moongate-types"] = "directory" },
    }), "types", ...)
  end

  it("writes them, again too, and says how to use them", function()
    for _ = 1, 2 do
      local status, out, err = run(folder .. "/")
      assert.equal(0, status, err)
      assert.equal("", err)
      assert.truthy(out:find(folder .. "/moongate-types/moongate.lua\n", 1, true), out)
      assert.truthy(out:find(('"workspace.library": ["%s/moongate-types"]'):format(folder), 1,
        true), out)
      assert.equal(types.text("moongate", "1.2.3"), read(folder .. "/moongate-types/moongate.lua"))
      assert.equal(types.text("moongate.php", "1.2.3"), read(folder .. "/moongate-types/php.lua"))
    end
  end)

  it("leaves files of others alone, and writes none then", function()
    local path = folder .. "/moongate-types/php.lua"
    local file = assert(io.open(path, "w"))
    file:write("return 1\n")
    file:close()
    local status, out, err = run(folder)
    assert.equal(1, status)
    assert.equal("", out)
    assert.equal(("moongate: %s: this file was not written by `moongate types`; move it away "
      .. "first\n"):format(path), err)
    assert.equal("return 1\n", read(path))
    assert.is_nil((io.open(folder .. "/moongate-types/moongate.lua")))
  end)

  it("says where there is no folder", function()
    local status, _, err = run("/nowhere")
    assert.equal(1, status)
    assert.equal("moongate: /nowhere: No such file or directory\n", err)
  end)
end)
