-- What modules of the library cost a request: instructions in user space, by callgrind, of the same
-- tiny request through routes that differ by one module. Called by main.lua.

local measure = require("tests.bench.measure")
local proxies = require("tests.bench.proxies")

local library = {}

local DECISION = 'tenants["t00100.example"]'

-- The value of the cookie that the route gives who asks for it.
local function cookie_of(conn)
  local head = conn:ask("/cookie", "t00100.example")
  return "Cookie: " .. assert(head:match("[Ss]et%-[Cc]ookie: ([^;\r\n]+)"), head) .. "\r\n"
end

-- A guard, and behind it the constant decision.
local GUARDED = "return guard(req) or " .. DECISION

-- So many hosts, among them the hundred that are asked for.
local TENANTS = [[
local list = {}
for i = 1, %d do
  list[("t%%05d.example"):format(i <= 100 and i * 100 or 20000 + i)] =
    { docroot = "/srv/t" .. i, backend = "app" }
end
local site = require("moongate.tenants").site { tenants = list }
]]

local function tenants(count)
  return { name = "tenants" .. count, title = ("`tenants.site`, %d tenants"):format(count),
    before = TENANTS:format(count), on_request = "return site(req)", than = "site",
    hosts = math.min(count, 100) }
end

local function limited(what, options)
  return ("local guard = require('moongate.limit').%s { name = 'bench', %s }"):format(what, options)
end

local CANARY = [[
local handler = require("moongate.canary").split {
  name = "bench", share = "%s",
  stable = function() return tenants["t00100.example"] end,
  canary = function() return tenants["t00200.example"] end,
}
]]

local NETWORKS = [[
local allow = { "127.0.0.0/8" }
for i = 1, %d do
  allow[#allow + 1] = ("10.%%d.%%d.0/24"):format(i / 250, i %% 250)
end
local guard = require("moongate.auth").addresses { allow = allow }
]]

-- Each is compared with the first, or with the one that `than` names.
local ROUTES = {
  { name = "none", title = "a constant decision", on_request = "return " .. DECISION },
  { name = "site", title = "`php.site`, one site", on_request = "return site(req)",
    before = [[local site = require("moongate.php").site {
      docroot = "/srv/t1", backend = "app" }]] },
  tenants(10), tenants(1000),
  { name = "rate", title = "`limit.rate`, one key", on_request = GUARDED,
    before = limited("rate", "rate = '10000/s', burst = 10000") },
  { name = "rate100", title = "`limit.rate`, 100 keys in turn", on_request = GUARDED,
    before = limited("rate", "rate = '10000/s', burst = 10000, "
      .. "key = function(req) return req.host end") },
  { name = "concurrency", title = "`limit.concurrency`, beginning and end", on_request = GUARDED,
    before = limited("concurrency", "limit = 1000") },
  { name = "canary", title = "`canary.split` by address, 5 %", on_request = "return handler(req)",
    before = CANARY:format("5%") },
  { name = "basic", title = "`auth.basic`, bcrypt, a login that is remembered",
    on_request = GUARDED, headers = "Authorization: Basic ZnJhbms6bW9vbg==\r\n",
    before = [[local guard = require("moongate.auth").basic { users = {
      frank = "$2y$05$abcdefghijklmnopqrstuuHJr0uQE6hoX7xb5vu1yneZ6ROM27/p." } }]] },
  { name = "cookie", title = "`auth.signed_cookie`", headers = cookie_of,
    on_request = [[if req.path == "/cookie" then
      return { status = 200, body = "-", headers = { ["Set-Cookie"] = guard:cookie("frank") } }
    end
    ]] .. GUARDED,
    before = [[local guard = require("moongate.auth").signed_cookie {
      name = "session", key = "sixteen bytes and more", lifetime = "12h" }]] },
  { name = "network", title = "`auth.addresses`, one network", on_request = GUARDED,
    before = NETWORKS:format(0) },
  { name = "networks", title = "`auth.addresses`, 1,000 networks", on_request = GUARDED,
    before = NETWORKS:format(1000) },
}

--- Measures all routes.
---@param application Application
---@param options table of main.lua
---@param say fun(format: string, ...)
---@return table[] list of { name, title, instructions, added, commit }
function library.bench(application, options, say)
  local out, counts = {}, {}
  for i, route in ipairs(ROUTES) do
    local case = { path = "/index.php", headers = route.headers, hosts = route.hosts }
    local keep = ("build/bench/library-%s.callgrind"):format(route.name)
    local count = measure.instructions(function(folder)
      return proxies.start("moongate", application, {
        folder = folder, on_request = route.on_request, before = route.before,
      })
    end, case, options.requests, keep)
    counts[route.name] = count
    out[i] = {
      name = route.name, title = route.title, instructions = count,
      added = count - counts[route.than or "none"], commit = options.commit,
    }
    say("%-14s          %-12s %8.0f instructions, %.0f more", "library", route.name, count,
      out[i].added)
  end
  return out
end

--- The table for docs/performance.md; empty where nothing was measured.
---@param list table[]|nil
---@return string
function library.table(list)
  local out = { list and "\n| route | instructions | more | commit |\n|---|---|---|---|\n" or nil }
  for _, one in ipairs(list or {}) do
    out[#out + 1] = ("| %s | %.0f | %.0f | %s |\n"):format(one.title, one.instructions, one.added,
      one.commit)
  end
  return table.concat(out)
end

return library
