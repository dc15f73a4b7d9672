-- Specs of moongate.route.sandbox: what a script can reach, and ways out of it that must not be
-- ones.

local fake_fs = require("support.fs")
local folder = require("support.folder")
local load_route = require("moongate.route.load")
local sandbox = require("moongate.route.sandbox")

-- What must not be reached, whatever leads there. Taken from the real library.
local function doors()
  local list = { [_G] = "_G", [package.loaded] = "package.loaded", [package] = "package",
    [package.preload] = "package.preload" }
  for _, name in ipairs({ "io", "debug" }) do
    list[_G[name]] = name
    for key, value in pairs(_G[name]) do
      if type(value) == "function" then
        list[value] = name .. "." .. key
      end
    end
  end
  for _, key in ipairs({ "execute", "exit", "remove", "rename", "tmpname", "getenv",
    "setlocale" }) do
    list[os[key]] = "os." .. key
  end
  for _, key in ipairs({ "loadlib", "loaders", "searchpath", "seeall" }) do
    if package[key] then
      list[package[key]] = "package." .. key
    end
  end
  for _, key in ipairs({ "require", "getfenv", "setfenv", "load", "loadstring", "loadfile",
    "dofile", "newproxy", "module", "getmetatable" }) do
    list[_G[key]] = key
  end
  list[string.dump] = "string.dump"
  for _, name in ipairs({ "ffi", "jit.util", "jit.opt", "moongate.base.fs", "moongate.route.load",
    "moongate.route.sources", "moongate.route.guard", "moongate.testing" }) do
    local ok, module = pcall(require, name)
    if ok then
      list[module] = name
    end
  end
  return list
end

--- Walks everything that a script reaches from a value without `debug`: fields, keys, metatables,
--- environments. Calls found(path, what) for each door.
local function walk(globals, value, path, seen, found, list)
  if type(value) ~= "table" and type(value) ~= "function" or seen[value] then
    return
  end
  seen[value] = true
  if list[value] then
    found(path, list[value])
  end
  if type(value) == "function" then
    walk(globals, globals.getfenv(value), path .. "<env>", seen, found, list)
    return
  end
  for key, item in next, value do
    walk(globals, item, path .. "." .. tostring(key), seen, found, list)
    walk(globals, key, path .. "<key>", seen, found, list)
  end
  walk(globals, globals.getmetatable(value), path .. "<meta>", seen, found, list)
end

local function new()
  local globals, own = sandbox.globals("/srv/nowhere")
  local function run(code)
    local chunk = assert(loadstring(code, "=code"))
    own(globals)
    return pcall(setfenv(chunk, globals))
  end
  return globals, run
end

describe("a sandbox", function()
  it("is asked for by words in the text, not by those of a comment or a text", function()
    for text, asked in pairs({
      ["return { sandbox = true }"] = true, ["return{sandbox=true,}"] = true,
      ["return { sandbox = true -- yes\n}"] = true, ["sandbox = false"] = false,
      ["-- sandbox = true"] = false, ['x = "sandbox = true"'] = false, ["nosandbox = true"] = false,
      ["--[[ sandbox =\ntrue ]]"] = false, ["sandbox = truely"] = false,
      ["sandbox\n=\ntrue"] = true,
    }) do
      assert.equal(asked, sandbox.is_asked_for(text), text)
    end
  end)

  it("reaches no door, through whatever it may require", function()
    local globals = new()
    local list, seen = doors(), {}
    local function found(path, what)
      error(("%s leads to %s"):format(path, what), 0)
    end
    walk(globals, globals, "_G", seen, found, list)
    for name in pairs(sandbox.MODULES) do
      local ok, module = pcall(globals.require, name)
      if ok then -- some need the program
        walk(globals, module, name, seen, found, list)
        local real = package.loaded[name]
        for key, value in next, type(real) == "table" and real or {} do
          walk(globals, value, name .. "." .. tostring(key), seen, found, list)
        end
      end
    end
  end)

  for _, code in ipairs({
    "return io.open('/etc/passwd')", "return os.execute('true')", "return os.exit(0)",
    "return os.getenv('PATH')", "return os.remove('/tmp/x')", "return os.rename('a', 'b')",
    "return require('ffi')", "return require('io')", "return require('debug')",
    "return require('jit.util')", "return require('jit')", "return require('moongate.core')",
    "return require('moongate.core.commands')", "return require('moongate.base.fs')",
    "return require('moongate.testing')", "return require('moongate.route.load')",
    "return require('moongate.route.sandbox')", "return require('../x')",
    "return require('/etc/x')",
    "return require('moongate.balance../../x')", "return require('')", "return require({})",
    "return debug.getupvalue(pairs, 1)", "return debug.getregistry()", "return jit.off()",
    "return package.loadlib('x', '*')", "return package.loaders[1]('io')", "return newproxy(true)",
    "return getmetatable('').__index", "getmetatable('').__index = {}", "return string.dump(print)",
    "return module('x', package.seeall)", "return setfenv(0, {})", "return setfenv(pairs, {})",
    "return setfenv(require, {})", "return setfenv(require('moongate.router').new, {})",
    "return setfenv(coroutine.wrap, {})", "return setfenv(2, {})", "return setfenv(3, {})",
    "return assert(load('\\27LJ'))()", "return assert(loadstring('\\27Lua'))()",
    "return assert(load(function() return nil end, 'x', 'b'))",
    "require('moongate.router').new = print", "require('moongate.docroot').on_disk = print",
    "setmetatable(require('moongate.router'), {})", "return dofile('/etc/passwd')",
    "return assert(loadfile('/etc/passwd'))", "return dofile()", "return dofile({})",
    "string.gsub = nil; return ('x'):nosuch()",
    "package.preload.io = nil; package.loaded.io = nil; return require('io').open",
    "return coroutine.wrap(function() return getfenv(0).io.open end)()",
  }) do
    it("does not let out: " .. code, function()
      local _, run = new()
      local ok, got = run(code)
      assert.is_false(ok, "returned " .. tostring(got))
    end)
  end

  for code, expected in pairs({
    ["return getfenv(0) == _G"] = true, ["return getfenv(1) == _G"] = true,
    ["return getfenv() == _G"] = true, ["return getfenv(require) == _G"] = true,
    ["return getfenv(pairs) == _G"] = true, ["return getfenv(string.rep) == _G"] = true,
    ["return getfenv(require('moongate.router').new) == _G"] = true,
    ["for i = 1, 20 do local ok, e = pcall(getfenv, i) if ok and e ~= _G then return e end end"] =
      "nothing",
    ["return _G._G == _G and _G.io == nil and debug == nil and jit == nil and ffi == nil"] = true,
    ["return getmetatable('') == nil"] = true, ["return getmetatable(require('moongate.router'))"] =
      false,
    ["return package.loaded.string == string and package.loaded.io == nil"] = true,
    ["string.rep = nil return ('x'):rep(2)"] = "xx", ["return load('return _G')() == _G"] = true,
    ["return loadstring('x = 1 return x')() == x"] = true,
    ["local e = { y = 2 } return load('return y', 'c', 't', e)()"] = 2,
    ["local f = setfenv(function() return z end, { z = 3 }) return f()"] = 3,
    ["local f = function() return getfenv(1).q end setfenv(f, { q = 4, getfenv = getfenv }) "
      .. "return f()"] = 4,
    ["package.preload.mine = function(n) return { n } end return require('mine')[1]"] = "mine",
    ["return require('moongate.php').site ~= nil and require('moongate.balance.p2c') ~= nil"] =
      true,
    ["return tostring(xpcall(error, function() return io end))"] = "false",
    ["return select(2, pcall(string.format, '%d', 'x')):find('number') ~= nil"] = true,
    ["return os.time() > 0 and type(os.date()) == 'string' and bit.band(6, 3)"] = 2,
  }) do
    it("goes on with: " .. code, function()
      local _, run = new()
      local ok, got = run(code)
      assert.is_true(ok, tostring(got))
      if expected == "nothing" then
        assert.is_nil(got)
      else
        assert.equal(expected, got)
      end
    end)
  end
end)

describe("a route in a sandbox", function()
  local function message_of(settings, before, overrides)
    local ok, message = pcall(load_route.source, (before or "") .. "return { on_request = print,\n"
      .. settings .. " }", "/srv/nowhere/route.lua", overrides, fake_fs.new({}))
    assert.is_false(ok, "accepted: " .. settings)
    return (message:gsub("\nstack traceback:.*", ""))
  end

  for settings, message in pairs({
    ['sandbox = true, user = "root"'] = "sandbox: 'user' is not for the route: --user of the "
      .. "command line says whom it runs as",
    ['sandbox = true, group = "root"'] = "sandbox: 'group' is not for the route: --user of the "
      .. "command line says whom it runs as",
    ['sandbox = true, control = "unix:/run/x"'] = "sandbox: 'control' is not for the route: "
      .. "--control of the command line says where commands come in",
    ['sandbox = true, test = "spec"'] = "sandbox: 'test' is not for the route: specs are run "
      .. "outside of a sandbox",
    ['sandbox = true, log = { access = "/etc/cron.d/x" }'] = 'sandbox: log.access may be "stdout": '
      .. "other logs are opened by the master",
    ['sandbox = true, log = { error = "/etc/cron.d/x" }'] = 'sandbox: log.error may be "stderr": '
      .. "other logs are opened by the master",
    ['sandbox = true, cache = { path = "/etc" }'] = "sandbox: cache.path is not for the route",
    ['sandbox = true, limits = { spool_dir = "/etc" }'] = "sandbox: limits.spool_dir is not for "
      .. "the route",
    ['sandbox = true, listen = "unix:/run/x"'] = "sandbox: a unix socket is made by the master, as "
      .. "root: --listen of the command line says where",
    ['sandbox = true, listen = { ":80", { address = "unix:/run/x" } }'] = "sandbox: a unix socket "
      .. "is made by the master, as root: --listen of the command line says where",
    ["sandbox = 1"] = "sandbox: expected true or false, got 1",
    ["sandbox = (true)"] = "sandbox: it holds from the first line on, so the words `sandbox = "
      .. "true` themselves must be in this file",
  }) do
    it("is refused with " .. settings, function()
      assert.equal("/srv/nowhere/route.lua:2: " .. message, message_of(settings))
    end)
  end

  it("is refused with a setting that shows itself at the second look alone", function()
    local code = [[local asked, t = 0, { sandbox = true, on_request = print }
      setmetatable(t, { __index = function(_, key)
        asked = asked + (key == "user" and 1 or 0)
        return key == "user" and asked > %d and "root" or nil
      end })
      do return t end
    ]]
    assert.matches("sandbox: 'user' is not for the route",
      message_of("sandbox = true", code:format(0)))
    local ok, settings = pcall(load_route.source, code:format(1), "/srv/nowhere/route.lua", nil,
      fake_fs.new({}))
    assert.is_true(not ok or settings.user == nil)
  end)

  it("says what is not there", function()
    assert.equal("/srv/nowhere/route.lua:1: sandbox: 'io' is not for this route",
      message_of("sandbox = true", "io.open('x') "))
    assert.equal("/srv/nowhere/route.lua:1: sandbox: there is no module 'ffi' below /srv/nowhere, "
      .. "and none of the library's that a route in a sandbox may have",
      message_of("sandbox = true", "require('ffi') "))
  end)

  it("has the words and the setting agree, and can't leave what the command line says", function()
    assert.equal("/srv/nowhere/route.lua:1: sandbox: the words `sandbox = true` are in the file, "
      .. "but not in the table that it returns", message_of("", "local t = { sandbox = true } "))
    assert.equal("/srv/nowhere/route.lua:2: sandbox: the command line has --sandbox, a route can't "
      .. "leave it", message_of("sandbox = false", nil, { sandbox = true }))
    assert.matches("'io' is not for this route", message_of("", "io.open('x') ",
      { sandbox = true }))
  end)

  it("has modules and files of its folder", function()
    local dir = folder.new("sub")
    for name, text in pairs({
      ["route.lua"] = [[
        local mine = require("mine")
        assert(require("mine") == mine and package.loaded.mine == mine)
        return { sandbox = true, on_request = function()
          return { body = mine.name .. dofile("value.lua") .. require("sub").x } end }]],
      ["mine.lua"] = "assert(io == nil and debug == nil) return { name = 'mine' }",
      ["value.lua"] = "#!/usr/bin/lua\nreturn ' 7 '",
      ["sub/init.lua"] = "return { x = ... }",
    }) do
      folder.write(dir .. "/" .. name, text)
    end
    finally(function() folder.remove(dir) end)
    local settings = load_route.route(dir .. "/route.lua", nil, fake_fs.new({}))
    assert.is_true(settings.sandbox)
    assert.equal("mine 7 sub", settings.hooks.on_request({}).body)
    for i, name in ipairs({ "route.lua", "mine.lua" }) do
      assert.equal(dir .. "/" .. name, settings.files[i])
    end
  end)
end)
