-- moongate.tenants in front of a real PHP-FPM: tenants come, change and go with the file while
-- requests flow, nobody gets another one's site, and how many there are costs a request nothing.

local http = require("tests.support.http")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local ROUTE = [[
local tenants = require("moongate.tenants")
return {
  backends = { app = os.getenv("TEST_BACKEND") },
  on_request = tenants.site {
    tenants = os.getenv("TEST_FILE"), backend = "app", front = "/index.php",
    not_found = { status = 404, body = "not here" }, owner = os.getenv("TEST_OWNER") ~= nil,
  },
}
]]

local PAGE = "<?php echo __DIR__, ' ', $_SERVER['HTTP_HOST'];"

-- Writes a file as one should: whole, and then in the place of the old one.
local function replace(path, text)
  process.write_file(path .. ".new", text)
  assert(os.rename(path .. ".new", path))
end

describe("tenants in a file", function()
  local fpm, gate, file

  local function line(host, folder)
    return ("%s,%s/%s\n"):format(host, fpm.root, folder)
  end

  setup(function()
    fpm = php.start({ pages = "tests/pages" })
    stage.write(fpm.root, {
      ["red/index.php"] = PAGE, ["blue/index.php"] = PAGE, ["blue/a.txt"] = "blue's",
      ["users/ann/index.php"] = PAGE,
    })
    local folder = stage.files({ ["tenants.csv"] = "host,root\n" .. line("red.test", "red") })
    file = folder .. "/tenants.csv"
    gate = server.start({ route = ROUTE, workers = 2,
      env = { TEST_BACKEND = fpm.address, TEST_FILE = file, TEST_OWNER = "1" } })
  end)

  teardown(function()
    gate:stop()
    fpm:stop()
  end)

  local function ask(host, path)
    return http.request(gate.address, { path = path or "/", host = host })
  end

  -- Until all workers say so: each connection may come to another one.
  local function wait_for(host, body)
    local began = poll.now and poll.now() or os.time()
    poll.wait(function()
      for _ = 1, 20 do
        if ask(host).body ~= body then
          return false
        end
      end
      return true
    end, host .. " to be served", 10)
    return began
  end

  it("have each their own site; others are misdirected", function()
    assert.equal(fpm.root .. "/red red.test", ask("red.test").body)
    for _, host in ipairs({ "blue.test", "red.test.evil", "test", "..", "red" }) do
      local status = ask(host).status
      assert.truthy(status == 421 or status == 400, host .. status)
    end
    assert.equal(421, http.request(gate.address, { path = "/", host = false, version = "1.0" })
      .status)
    assert.equal(fpm.root .. "/red red.test", ask("red.test", "/any/address").body)
  end)

  it("are there without a reload, also below a star; and go", function()
    replace(file, "host,root\n" .. line("red.test www.red.test", "red")
      .. line("blue.test", "blue") .. line("*.users.test", "users/$1"))
    wait_for("blue.test", fpm.root .. "/blue blue.test")
    assert.equal("blue's", ask("blue.test", "/a.txt").body)
    wait_for("ann.users.test", fpm.root .. "/users/ann ann.users.test")
    assert.equal(404, ask("bob.users.test").status)
    wait_for("www.red.test", fpm.root .. "/red www.red.test")
    replace(file, "host,root\n" .. line("red.test", "red"))
    poll.wait(function()
      local gone = true
      for _ = 1, 10 do
        gone = gone and ask("blue.test").status == 421
      end
      return gone
    end, "blue.test to go", 10)
    assert.is_nil(gate:errors():find("generation 2", 1, true))
  end)

  it("stay as they were where the file is no good, which the log says", function()
    local mark = gate:mark()
    replace(file, "host,rot\n" .. line("red.test", "red"))
    gate:wait_log("tenants%.csv:2: red%.test: unknown key 'rot' of a tenant; did you mean 'root'%?"
      .. "; those of before stay", 10, mark)
    assert.equal(fpm.root .. "/red red.test", ask("red.test").body)
    mark = gate:mark()
    replace(file, "host,root,backend\nred.test,/srv/x,php99\n")
    gate:wait_log("tenants%.csv:2: red%.test: there is no backend 'php99'", 10, mark)
    assert.equal(fpm.root .. "/red red.test", ask("red.test").body)
  end)

  it("lose no request while they change", function()
    local stop = 0
    for round = 1, 6 do
      replace(file, "host,root\n" .. line("red.test", "red")
        .. (round % 2 == 0 and line("blue.test", "blue") or ""))
      poll.wait(function()
        assert.equal(200, ask("red.test").status)
        stop = stop + 1
        return (ask("blue.test").status == 200) == (round % 2 == 0)
      end, "the change", 10)
    end
    assert.is_true(stop >= 6)
  end)

  if process.is_root() then
    it("get no file of another user's", function()
      replace(file, "host,root\n" .. line("blue.test", "blue"))
      wait_for("blue.test", fpm.root .. "/blue blue.test")
      assert.equal(200, ask("blue.test", "/a.txt").status)
      assert.equal(0, os.execute("chown daemon " .. process.quote(fpm.root) .. "/blue/a.txt"))
      assert.equal(403, ask("blue.test", "/a.txt").status)
    end)
  end
end)

describe("a hundred thousand tenants", function()
  -- Nanoseconds that a process has run.
  local function cpu(pid)
    return tonumber(process.read_file(("/proc/%d/schedstat"):format(pid)):match("^(%d+)"))
  end

  local function start(count)
    local lines = { "host,root" }
    for i = 1, count do
      lines[i + 1] = ("t%d.test,/srv/nothing/%d"):format(i, i)
    end
    local folder = stage.files({ ["tenants.csv"] = table.concat(lines, "\n") .. "\n" })
    return server.start({ route = ROUTE,
      env = { TEST_BACKEND = "127.0.0.1:1", TEST_FILE = folder .. "/tenants.csv" } }), folder
  end

  it("cost a request what ten cost", function()
    local gates, least = {}, {}
    local hosts = { 10, 1000, 100000 }
    for i, count in ipairs(hosts) do
      gates[i] = start(count)
      least[i] = math.huge
    end
    finally(function()
      for _, gate in ipairs(gates) do
        gate:stop()
      end
    end)
    for round = 1, 8 do
      for i, gate in ipairs(gates) do
        local pid, client = gate:workers()[1], http.open(gate.address)
        local began = cpu(pid)
        for n = 1, 200 do
          local number = 1 + (n * 7919 + round) % hosts[i]
          local res = client:request({ path = "/", host = ("t%d.test"):format(number) })
          assert.equal(404, res.status)
        end
        least[i] = math.min(least[i], cpu(pid) - began)
        client:close()
      end
    end
    if os.getenv("MOONGATE_SAY_COST") then
      print(("%.1f, %.1f and %.1f us"):format(least[1] / 2e5, least[2] / 2e5, least[3] / 2e5))
    end
    for i = 2, 3 do
      assert.is_true(least[i] < 2 * least[1], ("%.0f and %.0f ns"):format(least[1], least[i]))
    end
  end)
end)
