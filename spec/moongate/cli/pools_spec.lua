-- Specs of moongate.cli.pools: pool files of PHP-FPM, and which server is which pool.

local pools = require("moongate.cli.pools")

local TEXT = [[
; [commented]
[global]
pid = /run/x.pid
[shop]
user = shop
listen = /run/php/$pool.sock
pm.max_children = 12 ; twelve
;pm.max_children = 5
env[HOSTNAME] = a;b
php_admin_value[error_log] = "/var/log/a;b.log"
request_terminate_timeout=2m
[tcp]
listen = 9001
]]

describe("the pools of PHP-FPM", function()
  local shop, tcp = unpack(pools.parse(TEXT, "x.conf"))

  it("are read with the lines of their values", function()
    assert.equal(2, #pools.parse(TEXT, "x.conf"))
    assert.equal("shop", shop.name)
    assert.equal(4, shop.line)
    assert.equal("12", shop.values["pm.max_children"])
    assert.equal(7, shop.lines["pm.max_children"])
    assert.equal("/run/php/shop.sock", shop.values.listen)
    assert.equal("/var/log/a;b.log", shop.values["php_admin_value[error_log]"])
    assert.equal(120, pools.seconds(shop.values.request_terminate_timeout))
    assert.equal("9001", tcp.values.listen)
  end)

  it("are found again in servers of a route", function()
    local core = { realpath = function(path)
      return path == "/run/php/link.sock" and "/run/php/shop.sock" or nil
    end }
    local function listening(listen)
      return { values = { listen = listen }, lines = {} }
    end
    for _, case in ipairs({
      { shop, "unix:/run/php/shop.sock", true }, { shop, "unix:/run/php/link.sock", true },
      { shop, "unix:/run/php/other.sock", false }, { shop, "127.0.0.1:9001", false },
      { tcp, "127.0.0.1:9001", true }, { tcp, "127.0.0.1:9000", false },
      { tcp, "10.0.0.7:9001", false }, { tcp, "[::1]:9001", true },
      { listening("127.0.0.1:9000"), "127.0.0.1:9000", true },
      { listening("127.0.0.1:9000"), "127.0.0.2:9000", false },
      { listening("10.0.0.7:9000"), "10.0.0.7:9000", true },
      { listening("[::]:9000"), "localhost:9000", true },
      { listening(""), "localhost:9000", false },
    }) do
      assert.equal(case[3], pools.is_at(core, case[1], case[2]), case[2])
    end
  end)

  it("say where a folder can't be read", function()
    local found, problems = pools.read({ listdir = function()
      return nil, "Permission denied"
    end }, { "/etc/php/8.2/fpm/pool.d" })
    assert.same({}, found)
    assert.same({ "/etc/php/8.2/fpm/pool.d: Permission denied" }, problems)
  end)
end)
