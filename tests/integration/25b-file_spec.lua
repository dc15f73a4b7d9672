-- request_file: PHP gets the body of a request as a file.

local http = require("tests.support.http")
local json = require("moongate.base.json")
local php = require("tests.support.php")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local rig = require("tests.support.rig")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

local PAGE = [[<?php
header("Content-Type: application/json");
$file = $_SERVER["REQUEST_BODY_FILE"] ?? null;
$input = strlen(file_get_contents("php://input"));
if ($file !== null && isset($_GET["late"])) {
    header("Content-Length: 4");
    echo "done";
    flush();
    usleep(300000);
    file_put_contents(__DIR__ . "/late.txt", file_exists($file) ? filesize($file) : "gone");
    exit;
}
echo json_encode([
    "file" => $file, "input" => $input, "length" => $_SERVER["CONTENT_LENGTH"] ?? null,
    "sum" => $file === null ? null : md5_file($file),
    "mode" => $file === null ? null : decoct(fileperms($file) & 0777),
    "post" => $_POST,
]);
]]

local function md5(text)
  return process.run({ argv = { "md5sum" }, input = text }).stdout:match("^%x+")
end

local function files_in(folder)
  return process.run({ argv = { "ls", "-A", folder } }).stdout
end

describe("a body as a file", function()
  local fpm, gate, spool, own

  setup(function()
    fpm = php.start({ root = stage.files({ ["up.php"] = PAGE }) })
    spool, own = process.tempdir("spool"), process.tempdir("own")
    for _, folder in ipairs({ spool, own, fpm.root }) do
      process.chmod(folder, "777")
    end
    gate = server.start({
      env = {
        TEST_BACKEND = fpm.address, TEST_ROOT = fpm.root, TEST_SPOOL = spool, TEST_OWN = own,
      },
      route = [[
        local site = require("moongate.php").site {
          root = os.getenv("TEST_ROOT"), backend = "app", request_file = function(req)
            if req.args.plain then
              return false
            end
            return req.args.own and os.getenv("TEST_OWN") or req.args.bad and "/no/such/folder"
              or true
          end,
        }
        return {
          backends = { app = os.getenv("TEST_BACKEND") },
          limits = { spool_dir = os.getenv("TEST_SPOOL"), request_memory = "4k", body = "8M" },
          on_request = function(req)
            if req.args.seen then
              req:body()
            end
            return site(req)
          end,
        }]],
    })
  end)

  teardown(function()
    gate:stop()
    fpm:stop()
  end)

  for _, query in ipairs({ "", "seen", "own" }) do
    for _, size in ipairs({ 1, 3000, 5000, 3000000 }) do
      it(("of %d bytes has its name in REQUEST_BODY_FILE: %s"):format(size, query), function()
        local body = rig.bytes(size)
        local res = http.request(gate.address, { method = "POST", path = "/up.php?" .. query,
          body = body, headers = { ["Content-Type"] = "application/octet-stream" } })
        assert.equal(200, res.status)
        local out = json.decode(res.body)
        local folder = query == "own" and own or spool
        assert.equal(folder .. "/moongate-body-", out.file:sub(1, #folder + 15))
        assert.equal(md5(body), out.sum)
        assert.equal(tostring(size), out.length)
        assert.equal(size, out.input) -- PHP-FPM reads that file in place of STDIN
        assert.equal("640", out.mode)
        poll.wait(function()
          return files_in(folder) == ""
        end, "the file to be removed")
      end)
    end
  end

  it("that comes in chunks has its length", function()
    local res = http.request(gate.address, { method = "PUT", path = "/up.php",
      body = { "abc", ("d"):rep(9000), "e" } })
    local out = json.decode(res.body)
    assert.equal("9004", out.length)
    assert.equal(md5("abc" .. ("d"):rep(9000) .. "e"), out.sum)
  end)

  it("is not made where there is none, or the decision says no", function()
    local out = json.decode(http.get(gate.address, "/up.php").body)
    assert.is_nil(out.file)
    out = json.decode(http.request(gate.address, { method = "POST", path = "/up.php?plain",
      body = "a=1", headers = { ["Content-Type"] = "application/x-www-form-urlencoded" } }).body)
    assert.is_nil(out.file)
    assert.equal("1", out.post.a)
    assert.equal(3, out.input)
  end)

  it("is there until the application has ended, after its answer too", function()
    local res = http.request(gate.address, {
      method = "POST", path = "/up.php?late", body = "abcd",
    })
    assert.equal("done", res.body)
    poll.wait(function()
      local text = process.read_file(fpm.root .. "/late.txt")
      return text and text ~= ""
    end, "the page to go on")
    assert.equal("4", process.read_file(fpm.root .. "/late.txt"))
  end)

  it("has the fields and files of a form", function()
    local res = http.request(gate.address, { method = "POST", path = "/up.php", body = "a=1&b=2",
      headers = { ["Content-Type"] = "application/x-www-form-urlencoded" } })
    assert.same({ a = "1", b = "2" }, json.decode(res.body).post)
  end)

  it("leaves STDIN empty", function()
    local r = rig.start({ violations = true, on_request = [[do
      return { backend = "app", docroot = "/a", request_file = true }
    end]] })
    finally(function() r:stop() end)
    assert.equal(rig.sum(""), r:get("sum", { method = "POST", body = "abc" }).body)
    assert.equal("3", rig.params(r:get("dump", { method = "POST", body = "abc" })).CONTENT_LENGTH)
  end)

  it("is still the hooks' to read", function()
    local r = rig.start({ violations = true, on_request = [[do
      return { backend = "app", docroot = "/a", request_file = true, intercept_errors = { 500 } }
    end]], settings = "on_error = function(req) return { body = req:body() } end" })
    finally(function() r:stop() end)
    assert.equal("abc", r:get("status=500", { method = "POST", body = "abc" }).body)
  end)

  it("is removed when the client leaves", function()
    local client = http.open(gate.address)
    client.conn:send("POST /up.php HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    poll.wait(function()
      return files_in(spool) ~= ""
    end, "the file")
    client:close()
    poll.wait(function()
      return files_in(spool) == ""
    end, "the file to be removed")
  end)

  it("of a worker that was killed is removed by the next one", function()
    local folder = process.tempdir("left")
    process.chmod(folder, "777")
    local function start()
      local r = rig.start({ dies = true, violations = true, on_request = ([[do
        return { backend = "app", docroot = "/a", request_file = %q }
      end]]):format(folder) })
      finally(function() r:stop() end)
      return r
    end
    local function upload(r)
      local before = files_in(folder)
      local client = http.open(r.address)
      client.conn:send("POST /x.php?dump HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
      return client, poll.wait(function()
        for name in files_in(folder):gmatch("[^\n]+") do
          if not before:find(name, 1, true) then
            return name
          end
        end
      end, "the file")
    end
    local r, other = start(), start()
    local broken, left = upload(r)
    local client, held = upload(other) -- of another instance
    process.write_file(folder .. "/moongate-body-keep", "a file of somebody's")
    process.signal(r.server:workers()[1], "KILL")
    poll.wait(function()
      local ok, res = pcall(r.get, r, "body=x")
      return ok and res.status == 200
    end, "another worker")
    broken:close()
    assert.equal("3", rig.params(r:get("dump", { method = "POST", body = "abc" })).CONTENT_LENGTH)
    local there = files_in(folder)
    assert.is_nil(there:find(left, 1, true), there)
    assert.is_truthy(there:find(held, 1, true), there)
    assert.is_truthy(there:find("moongate-body-keep", 1, true), there)
    client.conn:send("defghij")
    assert.equal(200, client:receive("POST").status)
    client:close()
  end)

  it("is a 503 where it can't be made, and the log says where", function()
    local mark = gate:mark()
    local res = http.request(gate.address, { method = "POST", path = "/up.php?bad", body = "a" })
    assert.equal(503, res.status)
    gate:wait_log("could not be kept in request_file's folder /no/such/folder: No such file", nil,
      mark)
  end)

  it("is shown by explain", function()
    local route = process.tempdir("explain") .. "/route.lua"
    process.write_file(route, [[return {
      backends = { app = "unix:/none" },
      on_request = function()
        return { backend = "app", docroot = "/a", request_file = true }
      end,
    }]])
    local out = server.command({ "explain", route, "POST", "/x.php" }).stdout
    assert.is_truthy(out:find("request_file: a body is REQUEST_BODY_FILE, a file in /tmp of mode "
      .. "0640, and STDIN is empty", 1, true), out)
  end)
end)
