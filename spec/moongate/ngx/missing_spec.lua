-- Specs of the names of OpenResty's that are not there: each says so when it is used, and is on
-- docs/from-openresty.md; so is each that is there.

local missing = require("moongate.ngx.missing")

local PAGE = "docs/from-openresty.md"

--- The first and the second column of the page's list of names.
local function rows()
  local file = assert(io.open(PAGE))
  local list = file:read("*a"):match("\n## Name by name\n(.-)\n## ")
  file:close()
  local found = {}
  for names, what in list:gmatch("\n| ([^|]+) | ([^\n]+) |") do
    found[#found + 1] = { names = names, what = what }
  end
  return found
end

describe("ngx.missing", function()
  local ngx, methods

  before_each(function()
    ngx, methods = { timer = {}, thread = {}, worker = { id = print } }, {}
    missing.complete(ngx, methods)
  end)

  --- The error of using a name as OpenResty's users do.
  local function use(name)
    local group, field = name:match("^ngx%.(%w+)%.([%w_]+)$")
    local value = methods[name:match("^tcp:(.*)$")]
    if not value and group then
      value = ngx[group][field]
    elseif not value then
      value = ngx[name:match("^ngx%.(.*)$")]
    end
    if type(value) == "table" then
      return value.some_field
    end
    local result = value() -- not a tail call, which has no line
    return result
  end

  it("says where, what is missing, and what there is instead", function()
    for _, name in ipairs(missing.names()) do
      if not missing.module(name) then
        local ok, problem = pcall(use, name)
        assert.is_false(ok, name)
        local what, instead = problem:match("missing_spec%.lua:%d+: (%S+): [^\n]+; ([^\n]+)$")
        assert.truthy(what and what:find(name, 1, true) == 1, problem)
        assert.truthy(instead:find("%w+.* %(" .. PAGE:gsub("%p", "%%%0") .. "%)$"), problem)
      end
    end
  end)

  it("names the field of a request that a variable of nginx is", function()
    for name, field in pairs({
      request_uri = "req.uri", http_x_real_ip = 'req.headers["x-real-ip"]', arg_id = "req.args.id",
      cookie_session = "req.cookies.session", made_up = "req.ctx",
    }) do
      local ok, problem = pcall(function() return ngx.var[name] end)
      assert.is_false(ok)
      assert.truthy(problem:find("ngx.var." .. name .. ": ", 1, true), problem)
      assert.truthy(problem:find(field, 1, true), problem)
    end
    assert.is_false((pcall(function() return ngx.var[1] end)))
    assert.is_false((pcall(function() return ngx.var[{}] end)))
  end)

  it("is an error for who assigns, too", function()
    for _, assign in ipairs({
      function() ngx.status = 404 end, function() ngx.header["X-A"] = "1" end,
      function() ngx.ctx.user = "a" end, function() ngx.var.uri = "/" end,
    }) do
      local ok, problem = pcall(assign)
      assert.is_false(ok)
      assert.matches("not in Moongate", problem)
    end
    ngx.mine = 1
    assert.equal(1, ngx.mine)
  end)

  it("lets libraries look, and keep what they may never need", function()
    assert.equal("function", type(ngx.say))
    assert.equal("function", type(ngx.req.get_method))
    assert.equal("table", type(ngx.var))
    assert.equal(print, ngx.worker.id)
    assert.is_nil(ngx.no_such_name)
    assert.is_nil(ngx.req.no_such_name)
  end)

  it("is known to require", function()
    assert.matches("^\n\tngx.semaphore: .*ngx.thread.wait", missing.module("ngx.semaphore"))
    assert.is_nil(missing.module("ngx.made_up"))
  end)

  it("is on the page, name by name, and nothing else is", function()
    local on_page = {}
    for _, row in ipairs(rows()) do
      if row.what:find("^missing") then
        for name in row.names:gmatch("`([^`]+)`") do
          on_page[(name:gsub("%.NAME$", ""))] = true
        end
      end
    end
    local known = {}
    for _, name in ipairs(missing.names()) do
      known[name] = true
    end
    assert.same(known, on_page)
  end)
end)
