-- `moongate types`: the classes of what core/ gives to hooks have the fields that the program has,
-- and decisions the keys. Those that the library has are in spec/moongate/types/init_spec.lua.

local arguments = require("moongate.worker.arguments")
local decision = require("moongate.decision")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")
local types = require("support.types")

-- What moongate.core calls it -> its classes.
local CLASSES = {
  req = { "Request" }, headers = { "Headers", "RequestHeaders" },
  params = { "Params" }, res = { "Response" }, server = { "Server" }, err = { "Error" },
  log = { "Log" }, attempt = { "Attempt" },
}

describe("the classes of what core/ gives to hooks", function()
  it("have its fields", function()
    local dir = process.tempdir("types")
    stage.write(dir, { ["route.lua"] = [[
      for object, fields in pairs(require("moongate.core").fields()) do
        for name in pairs(fields) do
          print(object, name)
        end
      end
      return { on_request = function() end }]] })
    local result = server.command({ "check", dir .. "/route.lua" })
    assert.equal(0, result.code, result.stderr)
    local objects, classes = {}, types.parse()
    for object, name in result.stdout:gmatch("([^\t\n]+)\t([^\t\n]+)\n") do
      objects[object] = objects[object] or {}
      table.insert(objects[object], name)
    end
    for object, list in pairs(CLASSES) do
      for _, class in ipairs(list) do
        types.assert_names(assert(objects[object], object), classes["moongate." .. class], class)
      end
      objects[object] = nil
    end
    local methods = {}
    for name in pairs(arguments.methods) do
      methods[#methods + 1] = name
    end
    types.assert_names(methods, classes["moongate.Args"], "Args")
    local keys = {}
    for _, kind in ipairs({ "fastcgi", "file", "reply", "redirect", "close" }) do
      for _, key in ipairs(decision.keys(kind)) do
        keys[key] = true
      end
    end
    types.assert_names(objects.decision, keys, "decision")
    objects.decision = nil
    assert.same({}, objects)
  end)
end)
