-- support.types owns the reading of the definition files that moongate.types has. Called by the
-- specs that compare them with the code.

local assert = require("luassert")
local types = require("moongate.types")

local M = {}

--- The classes of all files: name -> { field -> { type =, optional =, comment = } }; and the
--- functions of each table: variable -> name -> list of parameters.
function M.parse()
  local classes, aliases, functions = {}, {}, {}
  for name, text in pairs(types.files) do
    local class, comments = nil, {}
    for line in text:gmatch("[^\n]*") do
      local declared = line:match("^%-%-%-@class ([%w.]+):?[ %w.]*$")
      local alias = line:match("^%-%-%-@alias ([%w.]+) %S")
      local field, optional, rest = line:match("^%-%-%-@field ([%w_]+)(%??) (%S.*)$")
      local owner, fn, params = line:match("^function ([%w_]+)[.:]([%w_]+)%((.-)%) end$")
      if declared then
        assert.is_nil(classes[declared], declared)
        class = {}
        classes[declared] = class
      elseif alias then
        aliases[alias] = true
      elseif field then
        assert(class, line)
        assert.is_nil(class[field], line)
        class[field] = { optional = optional == "?", rest = rest }
      elseif owner then
        functions[name] = functions[name] or {}
        functions[name][owner] = functions[name][owner] or {}
        functions[name][owner][fn] = { params = params, comments = comments }
        comments = {}
      elseif line:match("^%-%-%-@") then
        local kind = line:match("^%-%-%-@(%w+)")
        assert.truthy(({ param = 1, ["return"] = 1, operator = 1, field = 1 })[kind], line)
      elseif not line:match("^%-%-%- ") and not line:match("^local [%w_]+ = {}$")
        and not line:match("^return [%w_]+$") then
        assert.equal("", line)
      end
      local param = line:match("^%-%-%-@param ([%w_.]+)%??")
      if param then
        comments[#comments + 1] = param
      end
    end
  end
  return classes, aliases, functions
end

--- Compares the fields of a class with a list of names.
function M.assert_names(names, fields, class)
  local given, expected = {}, { unpack(names) }
  assert.is_table(fields, class)
  for name in pairs(fields) do
    given[#given + 1] = name
  end
  table.sort(given)
  table.sort(expected)
  assert.same(expected, given, class)
end

return M
