-- Specs of README.md and docs/: every piece of Lua in them can be read by Lua, those that stand for
-- a route are one, and the hooks of hooks.md do what their page says hooks may do.

local decision = require("moongate.decision")
local files = require("support.fs")
local load = require("moongate.route.load")
local req = require("support.req")
local servers = require("support.servers")

--- The Lua blocks of a page.
local function blocks_of(name)
  local file = assert(io.open(name))
  local text = file:read("*a")
  file:close()
  local blocks = {}
  for block in text:gmatch("\n```lua\n(.-)\n```") do
    blocks[#blocks + 1] = block
  end
  return blocks
end

--- A block as a whole route: some are only the fields of one.
local function route_of(block)
  if block:find("\nreturn ", 1, true) or block:find("^return ") then
    return block
  end
  local hook = block:find("on_request =", 1, true) and "" or "\non_request = print,"
  return ("return {%s\n%s\n}"):format(hook, block)
end

--- Calls a hook with arguments that stand for what core/ gives it.
---@return any result
local function call(settings, name)
  local request = req.get("/v1/page?from=here", {
    id = "0123456789abcdef", cookies = { release = "next" },
    headers = { ["Content-Length"] = "200000000" },
  })
  local args = {
    on_certificate = { "shop.example" },
    on_params = { request, { HTTP_X_INTERNAL = "1" } },
    on_balance = { request, servers.new(1, 1), 1 },
    on_response = { request, { status = 200, headers = { ["X-Login"] = "required" } } },
    on_error = { request, { kind = "connect", status = 503, backend = "app", attempts = 1 } },
    on_stderr = { request, { { level = "deprecated", text = "old", file = "/a.php", line = 1 } } },
    on_log = { request, {
      id = request.id, method = "GET", host = "a.test", uri = "/", status = 503, duration = 0.5,
      attempts = { { queue = 0.1 } }, error = "busy",
    } },
  }
  return settings.hooks_original[name](unpack(args[name] or { request }))
end

-- In the order in which they are called.
local HOOKS = {
  "on_start", "on_certificate", "on_request", "on_params", "on_balance", "on_response", "on_error",
  "on_stderr", "on_log", "on_stop",
}

-- What a hook may return, but nil.
local RESULTS = {
  on_balance = "table", on_stderr = "boolean", on_log = "string",
}

describe("the Lua in", function()
  local PAGES = {
    "README.md", "docs/route.md", "docs/params.md", "docs/balancing.md", "docs/hooks.md",
    "docs/operations.md", "docs/testing.md", "docs/api.md", "docs/library.md",
    "docs/from-openresty.md", "docs/metrics.md", "docs/from-caddy.md", "docs/cookbook.md",
  }
  for _, name in ipairs(PAGES) do
    it(name .. " is Lua", function()
      local blocks = blocks_of(name)
      assert.is_true(#blocks > 0)
      for _, block in ipairs(blocks) do
        -- Lines of a script, or fields of the table that a route returns.
        local chunk, problem = loadstring(block)
        assert.is_function(chunk or loadstring("return {\n" .. block .. "\n}"), problem)
      end
    end)
  end

  for _, name in ipairs({
    "docs/balancing.md", "docs/hooks.md", "docs/operations.md", "docs/api.md", "docs/library.md",
    "docs/from-openresty.md", "docs/from-caddy.md",
  }) do
    it(name .. " is all valid routes", function()
      local fs = files.new({ "/var/tmp/" })
      -- Doors to C, and a library of others, which are not here.
      for _, door in ipairs({ "moongate.hash", "moongate.random", "moongate.auth.checks", "ngx",
        "resty.redis" }) do
        package.loaded[door] = package.loaded[door] or {}
      end
      package.loaded["moongate.ngx.regex"] = package.loaded["moongate.ngx.regex"]
        or { match = function() end }
      for i, block in ipairs(blocks_of(name)) do
        local ok, problem = pcall(load.source, route_of(block), "block-" .. i, nil, fs)
        assert.is_true(ok, problem)
      end
    end)
  end

  it("hooks.md has an example of every hook, and each works", function()
    local seen = {}
    for i, block in ipairs(blocks_of("docs/hooks.md")) do
      local settings = load.source(route_of(block), "block-" .. i)
      for _, name in ipairs(HOOKS) do
        local hook = settings.hooks_original[name]
        if hook and hook ~= print then
          local ok, result = pcall(call, settings, name)
          assert.is_true(ok, ("%s: %s"):format(name, tostring(result)))
          if result ~= nil and RESULTS[name] then
            assert.equal(RESULTS[name], type(result), name)
          elseif result ~= nil then
            assert.is_nil(decision.problem(result, settings), name)
          end
          seen[name] = true
        end
      end
    end
    for _, name in ipairs(HOOKS) do
      assert.is_true(seen[name], name)
    end
  end)

  it("the README and route.md begin with a valid route", function()
    for _, name in ipairs({ "README.md", "docs/route.md" }) do
      local settings = load.source(blocks_of(name)[1], "route.lua")
      assert.equal("php82", settings.backends[#settings.backends].name)
    end
  end)
end)

describe("the links in", function()
  --- What a heading is called in a link, as GitHub does it.
  local function anchors_of(name)
    local anchors = {}
    for line in io.lines(name) do
      local title = line:match("^#+ (.*)$")
      if title then
        anchors[title:lower():gsub("[^%w_ -]", ""):gsub(" ", "-")] = true
      end
    end
    return anchors
  end

  for _, name in ipairs({
    "README.md", "CONTRIBUTING.md", "docs/api.md", "docs/architecture.md", "docs/balancing.md",
    "docs/contract.md", "docs/hooks.md", "docs/operations.md", "docs/params.md",
    "docs/performance.md", "docs/route.md", "docs/library.md", "docs/applications.md",
  }) do
    it(name .. " lead somewhere", function()
      local file = assert(io.open(name))
      local text = file:read("*a"):gsub("\n```.-\n```", "")
      file:close()
      local folder = name:match("^.*/") or ""
      for target in text:gmatch("%]%(([^)]+)%)") do
        local path, anchor = target:match("^([^#]*)#?(.*)$")
        path = path == "" and name or folder .. path
        local page = io.open(path)
        assert.truthy(page, target)
        page:close()
        assert.is_true(anchor == "" or anchors_of(path)[anchor] == true, target)
      end
    end)
  end
end)
