-- POSTs over kept connections to a real PHP-FPM whose children retire all the time: each is run
-- exactly once. The page notes every run in a file, by the request's id. TRIAL=1 sends as many as
-- it takes to see what happens once in ten thousand times.

local load = require("tests.support.load")
local net = require("tests.support.net")
local php = require("tests.support.php")
local process = require("tests.support.process")

local TRIAL = os.getenv("TRIAL") ~= nil

-- `posts` are those of a usual run and of a trial.
local CASES = {
  { "many clients wait", posts = { 1000, 15000 }, clients = 64 },
  { "nobody waits", posts = { 500, 10000 }, clients = 4 },
  { "a child frees much memory before it ends", posts = { 300, 3000 }, clients = 16,
    max_requests = 20, query = "&mb=6" },
  { "children work a little after their answers", posts = { 300, 2500 }, clients = 16,
    max_requests = 20, query = "&after=9" },
  { "children work long after their answers", posts = { 40, 160 }, clients = 4,
    max_requests = 5, query = "&after=200" },
  { "other programs want the processors", posts = { 300, 4000 }, clients = 16,
    max_requests = 20, loops = 3 },
  { "PHP-FPM is reloaded", posts = { 800, 8000 }, clients = 16, reloads = true },
  { "it is reached by TCP", posts = { 500, 5000 }, clients = 16, tcp = true },
  { "it is reached by TCP, and nobody waits", posts = { 200, 3000 }, clients = 2, tcp = true,
    pause = 50 },
}

local function start(case)
  local address = case.tcp and "127.0.0.1:" .. net.free_port() or nil
  local pool = { "pm.max_requests = " .. (case.max_requests or 50) }
  if address then
    pool[#pool + 1] = "listen = " .. address
  end
  return php.rig({ pages = "tests/pages", children = 4, pool = pool,
    global = { "process_control_timeout = 3s" } }, function(fpm)
    return {
      servers = { address or fpm.address },
      backend = [[max_conns = 4, keepalive = 4, queue_timeout = "50s"]],
      before = ("local ROOT, MARKS = %q, %q"):format(fpm.root, fpm.data .. "/ran"),
      on_request = [[do
        return { backend = "app", docroot = ROOT,
          params = { REQUEST_MARK = req.id, MARKS = MARKS } }
      end]],
    }
  end)
end

-- Processes that do nothing, for a time.
local function busy_loops(count)
  local list = {}
  for i = 1, count do
    list[i] = process.spawn({ argv = { "timeout", "120", "luajit", "-e", "while true do end" } })
  end
  return list
end

-- How often each request was run.
local function runs(fpm)
  local count, by_id = 0, {}
  for id in process.read_file(fpm.data .. "/ran"):gmatch("[^\n]+") do
    count = count + 1
    by_id[id] = (by_id[id] or 0) + 1
    assert.equal(1, by_id[id], id)
  end
  return count
end

describe("every POST is run exactly once when", function()
  for _, case in ipairs(CASES) do
    it(case[1], function()
      local r, fpm = start(case)
      local loops = busy_loops(case.loops or 0)
      finally(function()
        for _, one in ipairs(loops) do
          one:stop()
        end
        r:stop()
      end)
      local posts = case.posts[TRIAL and 2 or 1]
      local run = load.start(r.address, { timeout = 60, {
        clients = case.clients, requests = posts, method = "POST", body = 1000, pause = case.pause,
        path = "/once.php?token=@" .. (case.query or ""),
      } })
      while case.reloads and run:running() do
        fpm:reload()
      end
      local result = run:finish()
      assert.equal(posts, result.all[200], result.all.text)
      assert.equal(posts, runs(fpm)) -- each is noted before it is answered
      if TRIAL then
        print(case[1], result.seconds, result.all.text)
      end
    end)
  end
end)
