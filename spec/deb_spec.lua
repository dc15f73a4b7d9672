-- debian/ says what the Makefile and tools/install say: the version, and what the build needs.

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

describe("debian/", function()
  it("has the version of the Makefile", function()
    local version = read("Makefile"):match("\nVERSION = (%S+)\n")
    assert.equal(version, read("debian/changelog"):match("^moongate %(([^)]+)%)"))
  end)

  it("asks for what tools/install installs for a build", function()
    local needed = read("debian/control"):match("\nBuild%-Depends:(.-\n)%u")
    -- What every build of a package has.
    local usual = { gcc = true, make = true, ["libc6-dev"] = true }
    for _, group in ipairs({ "build", "release" }) do
      local packages = read("tools/install"):match("\n  " .. group .. "%) echo (.-) ;;")
      for name in packages:gsub("\\\n", " "):gmatch("%S+") do
        assert.truthy(usual[name] or needed:find("[ ,]" .. name:gsub("%-", "%%-") .. "[,\n]"), name)
      end
    end
  end)

  it("has a route that is served on the loopback only", function()
    local text = read("debian/route.lua")
    assert.truthy(text:find('\n  listen = "127.0.0.1:8080",\n', 1, true))
  end)
end)
