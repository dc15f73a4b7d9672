-- examples/multi-php before the PHPs of several releases of Debian, each in a root of its own, and
-- this machine's; run by `make test-multiphp`. PHP_SYSTEMS names the folders of the systems, with
-- colons between them (tools/multiphp).

local http = require("tests.support.http")
local multiphp = require("tests.support.multiphp")
local php = require("tests.support.php")
local stage = require("tests.support.stage")

local VERSIONS = { "7.4", "8.2", "8.4" } -- those of the example
local DOCROOT = "/srv/sites" -- in each root

-- The systems that there are, by version. This machine's PHP sees the sites at the same place as
-- the others do.
local systems = {}
for folder in ("/:" .. (os.getenv("PHP_SYSTEMS") or "")):gmatch("[^:]+") do
  local system = php.system(folder)
  if system then
    systems[system.version] = system
  end
end

local present = {}
for _, version in ipairs(VERSIONS) do
  present[#present + 1] = systems[version] and version
end

local function name_of(version)
  return "php" .. version:gsub("%.", "")
end

describe("several PHPs", function()
  local pools, site, sites = {}, nil, nil

  setup(function()
    local dir = stage.copy("examples/multi-php")
    local addresses = {}
    sites = dir .. "/sites"
    multiphp.add_pages(sites)
    stage.write(sites, { ["acme/sees.php"] = [[<?php
      echo file_exists($_GET["path"]) ? "there" : "not there";]] })
    for _, version in ipairs(present) do
      local name = name_of(version)
      pools[version] = php.start({
        root = DOCROOT, system = systems[version], mounts = { [DOCROOT] = sites },
        pool = { ("env[POOL] = %s"):format(name), "pm.max_children = 4" },
      })
      addresses[name] = pools[version].address
    end
    site = multiphp.start(dir, DOCROOT, addresses)
  end)

  teardown(function()
    site:stop()
    for _, pool in pairs(pools) do
      pool:stop()
    end
  end)

  local function assert_run(host, path, version)
    local answer = site:ask(host, path)
    assert.equal(version, answer.version:match("^%d+%.%d+"))
    assert.same({ name_of(version), DOCROOT .. "/acme", DOCROOT .. "/acme" .. path:gsub("/$", "") },
      { answer.pool, answer.docroot, answer.dir })
  end

  it("are two at least", function()
    assert.is_true(#present >= 2, "PHP " .. table.concat(present, ", "))
  end)

  for _, version in ipairs(present) do
    it("run a site by its host in a root of their own: PHP " .. version, function()
      site:set_versions({ ["acme.localhost"] = version })
      site:wait_pool("acme.localhost", "/", name_of(version))
      assert_run("acme.localhost", "/", version)
      local function sees(path)
        return http.request(site.gate.address,
          { path = "/sees.php?path=" .. path, host = "acme.localhost" }).body
      end
      assert.equal("there", sees(DOCROOT .. "/acme/index.php"))
      if systems[version].folder ~= "/" then
        assert.equal("not there", sees(sites .. "/acme/index.php"))
      end
      assert.equal(404, http.request(site.gate.address,
        { path = "/missing.php", host = "acme.localhost" }).status)
      assert.equal(200, http.request(site.gate.address,
        { path = "/style.css", host = "acme.localhost" }).status)
    end)

    it("run a folder by its file .php-version: PHP " .. version, function()
      for _, other in ipairs(present) do
        if other ~= version then
          site:set_versions({ ["acme.localhost"] = other })
        end
      end
      stage.write(sites, {
        ["acme/own/.php-version"] = version .. "\n",
        ["acme/own/index.php"] = io.open("examples/multi-php/sites/acme/index.php"):read("*a"),
      })
      site:wait_pool("acme.localhost", "/own/", name_of(version))
      assert_run("acme.localhost", "/own/", version)
    end)
  end

  if systems["8.4"] then
    it("run a path of every site: PHP 8.4", function()
      site:set_versions({ ["acme.localhost"] = present[1], ["other.localhost"] = "8.4" })
      for _, host in ipairs({ "acme.localhost", "other.localhost" }) do
        site:wait_pool(host, "/next/", "php84")
        assert_run(host, "/next/", "8.4")
      end
    end)
  end

  it("pass a site on to one another without the loss of a request", function()
    local from, to = present[1], present[#present]
    site:move(from, to, function(name)
      stage.write(sites, { ["acme/" .. name] = "" })
    end)
    assert_run("acme.localhost", "/", to)
  end)
end)
