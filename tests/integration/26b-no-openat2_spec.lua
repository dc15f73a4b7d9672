-- Where the kernel or a container refuses openat2(2), and where renames elsewhere keep it from
-- following a "..", files are found and confined as everywhere.

local http = require("tests.support.http")
local process = require("tests.support.process")
local server = require("tests.support.server")

local LAUNCHER = server.binary():match("^(.*/)") .. "tests/no_openat2"

-- A site, and beside it what is nobody's business.
local function site()
  local dir = process.tempdir("walked")
  assert(os.execute(("mkdir -p '%s/site/sub/deep' '%s/other'"):format(dir, dir)) == 0)
  for name, text in pairs({
    ["site/index.html"] = "index\n", ["site/sub/page.txt"] = "page\n", ["secret.txt"] = "secret\n",
    ["other/secret.txt"] = "other secret\n",
  }) do
    process.write_file(dir .. "/" .. name, text)
  end
  for link, target in pairs({
    ["site/inside"] = "sub/page.txt", ["site/folder"] = "sub", ["site/out"] = "../secret.txt",
    ["site/absolute"] = dir .. "/secret.txt", ["site/beside"] = "../other", ["site/loop"] = "loop",
    ["site/sub/up"] = "../index.html",
  }) do
    assert(os.execute(("ln -s '%s' '%s/%s'"):format(target, dir, link)) == 0)
  end
  return dir
end

-- A server of that site. `launcher` starts it.
local function start(dir, launcher)
  return server.start({
    launcher = launcher,
    route = ([[
      local site = require("moongate.php").site {
        root = %q, backend = "none", front = "/index.php" }
      return {
        control = false, backends = { none = "unix:/nonexistent/x.sock" },
        on_request = function(req)
          return req.args.within and { root = %q, within = { %q, %q } } or site(req)
        end,
      }]]):format(dir .. "/site", dir .. "/site", dir .. "/site", dir .. "/other"),
  })
end

-- What a server answers at each path, asked twice.
local function answers(s, paths)
  local out = {}
  for _, path in ipairs(paths) do
    for round = 1, 2 do
      local res = http.request(s.address, { path = path })
      out[path .. " " .. round] = res.status .. " " .. (res.status == 200 and res.body or "")
    end
  end
  return out
end

-- `how` openat2 fails, by the launcher.
local function scenarios(how)
  local dir, plain, walking

  setup(function()
    dir = site()
    plain, walking = start(dir), start(dir, { LAUNCHER, how })
  end)

  teardown(function()
    walking:stop()
    plain:stop()
  end)

  it("files and links below the root are served", function()
    for path, body in pairs({
      ["/index.html"] = "index\n", ["/sub/page.txt"] = "page\n", ["/inside"] = "page\n",
      ["/folder/page.txt"] = "page\n", ["/sub/up"] = "index\n",
      ["/sub/deep/../page.txt"] = "page\n", ["/beside/secret.txt?within=1"] = "other secret\n",
    }) do
      assert.same({ [path .. " 1"] = "200 " .. body, [path .. " 2"] = "200 " .. body },
        answers(walking, { path }))
    end
  end)

  it("all else is answered as with it, and nothing that lies outside is shown", function()
    local paths = {
      "/out", "/out?within=1", "/absolute", "/absolute?within=1", "/beside/secret.txt", "/loop",
      "/loop?within=1", "/nothing", "/nothing?within=1", "/../secret.txt", "/sub", "/sub?within=1",
      "/index.html/", "/index.html/x?within=1", "/sub/", "/folder", "/index.html/../inside",
    }
    local expected = answers(plain, paths)
    assert.same(expected, answers(walking, paths))
    for path, answer in pairs(expected) do
      assert.is_nil(answer:find("secret\n", 1, true), path)
    end
  end)

  it("is what the launcher makes of a process", function()
    local argv = { LAUNCHER, how, "grep", "^Seccomp:", "/proc/self/status" }
    assert.equal("Seccomp:\t2\n", process.run({ argv = argv }).stdout)
  end)
end

for how, name in pairs({ refused = "without openat2", busy = "where openat2 meets renames" }) do
  describe(name, function() scenarios(how) end)
end
