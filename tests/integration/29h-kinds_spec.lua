-- Every kind of line that a request can cause in the error log names that request: its id as the
-- access log has it, its host, and its tenant as far as the script has said one.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")

-- What is sent, and a pattern of the line. `decided`: the line comes after the script's decision,
-- so it has the tenant.
local KINDS = {
  { "a hook that fails before a decision", "At=on_request", "on_request %(.*broken" },
  { "a decision that can't be used", "Wrong", "a decision that can't be used: .*'backnd'" },
  { "on_params that fails", "At=on_params", "on_params %(.*broken", decided = true },
  { "on_response that fails", "At=on_response", "on_response %(.*broken", decided = true },
  { "on_error that fails", "At=on_error&fail=close-before-head", "on_error %(.*broken",
    decided = true },
  { "on_stderr that fails", "At=on_stderr&stderr=x", "on_stderr %(.*broken", decided = true },
  { "on_log that fails", "At=on_log", "on_log %(.*broken", decided = true },
  { "a line of moongate.log", "Say=words", "%[info%] %d+: words", decided = true },
  { "a server that refuses", "To=down", "backend 'down', server .*: ", decided = true },
  { "another attempt", "To=half", "%[warn%] .*backend 'half', server .*/none", decided = true,
    times = 4 }, -- one of the policy's turns begins at the server that is not there
  { "a server that hangs", "To=slow&fail=hang", "backend 'slow'.*timeout: ", decided = true },
  { "a server that closes", "fail=close-before-head", "backend 'app'.*: closed: ",
    decided = true },
  { "a head that is none", "head=no-colon", "backend 'app'.*: protocol: ", decided = true },
  { "a body that is too long", "length=-5&size=100", "protocol: a body longer than its Content",
    decided = true },
  { "a message on STDERR", "stderr=oops", "stderr of backend 'app': oops", decided = true },
  { "a script that PHP does not find",
    "status=404&stderr=Primary%20script%20unknown", "Primary script unknown", decided = true },
  { "a file that a response may not name", "header=X-Accel-Redirect:%20/nowhere/x",
    "X%-Accel%-Redirect", decided = true },
  { "an error page that is not there", "Page", "the page for an error, /nonexistent/sorry.html",
    decided = true },
  { "a missing file, at debug", "Missing", "%[debug%] .*/none.txt: 404, " },
  { "nothing decided, at debug", "Nil", "%[debug%] .*answered 404: on_request returned nil" },
  { "a full queue", "To=full", "backend 'full'.*: ", decided = true, full = true },
  { "a request past its deadline", "Deadline&fail=hang", "the deadline of ", decided = true },
  { "a body over the limit", "Big", "answered 413: a body larger", decided = true,
    body = ("x"):rep(2000) },
}

describe("a line of the error log names id, host and tenant for", function()
  local r, back

  setup(function()
    back = process.tempdir("kinds")
    r = rig.start({
      before = [[
        local moongate = require("moongate")
        local function at(req, hook)
          if req.args.At == hook then error("broken") end
        end]],
      settings = [[
        log = { format = "json", level = "debug" }, limits = { body = "1k" },
        on_params = function(req)
          at(req, "on_params")
          if req.args.Say then moongate.log("info", "%s", req.args.Say) end
        end,
        on_response = function(req) at(req, "on_response") end,
        on_error = function(req)
          at(req, "on_error")
          if req.args.Page then return { file = "/nonexistent/sorry.html" } end
        end,
        on_stderr = function(req) at(req, "on_stderr") end,
        on_log = function(req) at(req, "on_log") end]],
      backends = function(list)
        return ([[
          down = { servers = { "unix:/nonexistent/none.sock" } },
          half = { servers = { "unix:/nonexistent/none", %q }, balance = "round_robin" },
          slow = { servers = { %q }, read_timeout = 0.3 },
          full = { servers = { %q }, max_conns = 1, queue = 0 }]]):format(list[1], list[1], list[1])
      end,
      on_request = ([[
        at(req, "on_request")
        if req.args.Wrong then return { backnd = "app" } end
        if req.args.Nil then return nil end
        if req.args.Missing then return { root = %q, path = "/none.txt" } end
        do return {
          backend = req.args.Page and "down" or req.args.To or "app", docroot = "/srv",
          tenant = "blue", deadline = req.args.Deadline and 0.3 or nil,
        } end]]):format(back),
    })
  end)

  teardown(function() r:stop() end)

  -- One request of a kind, with a word in its URI that no other kind has.
  local function send(case, word)
    http.request(r.address, {
      method = case.body and "POST" or "GET", body = case.body, host = "shop.example",
      path = rig.target(case[2] .. "&Word=" .. word),
    })
  end

  for i, case in ipairs(KINDS) do
    it(case[1], function()
      local word = ("kind%dend"):format(i)
      local holder
      if case.full then
        holder = http.open(r.address)
        holder:send({ path = rig.target("To=full&delay=hold"), host = "shop.example" })
        r:wait_started("To=full", 1)
      end
      for _ = 1, case.times or 1 do
        send(case, word)
      end
      local uri = (case.body and "POST" or "GET") .. " /x%.php%?[^ ]*&Word=" .. word
      local line = r.server:wait_log("; " .. uri .. ", request %x+, host shop%.example"
        .. (case.decided and ", tenant blue" or ""))
      -- Further lines of the request are of other kinds; the one that is meant is among them.
      line = poll.wait(function()
        -- A traceback goes on on lines that begin with a tab.
        for found in r.server:errors():gsub("\n\t", " "):gmatch("[^\n]+") do
          if found:find(word, 1, true) and found:find(case[3]) then
            return found
          end
        end
      end, "the line; there is " .. line)
      local id, host, rest = line:match("; " .. uri .. ", request (%x+), host ([^,\n]+)([^\n]*)")
      assert.equal("shop.example", host, line)
      assert.equal(case.decided and ", tenant blue" or "", rest, line)
      local ids = {}
      poll.wait(function()
        for access in r.server:access():gmatch("[^\n]+") do
          if access:find(word, 1, true) then
            ids[json.decode(access).id] = true
          end
        end
        return ids[id]
      end, "the id " .. id .. " in the access log")
      if holder then
        r:release()
        assert.equal(200, holder:receive("GET").status)
        holder:close()
      end
    end)
  end
end)
