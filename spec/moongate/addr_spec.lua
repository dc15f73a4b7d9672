-- Specs of moongate.addr.

local addr = require("moongate.addr")

describe("addr.parse", function()
  it("keeps addresses that are in their one form", function()
    for _, text in ipairs({
      "127.0.0.1:8080", "localhost:1", "php-fpm:9000", "app_1.internal:65535", "[::1]:80",
      "[2001:db8::1]:8080", "[1:2:3:4:5:6:7:8]:1", "[::ffff:10.0.0.1]:80", "[fe80::1%eth0]:80",
      "unix:/run/php/php8.2-fpm.sock", "unix:/a b",
    }) do
      assert.equal(text, addr.parse(text, "listen"))
      assert.equal(text, addr.parse(text, "connect"))
    end
  end)

  it("means all addresses by a port alone where it listens", function()
    assert.equal("0.0.0.0:8080", addr.parse(":8080", "listen"))
    assert.equal("0.0.0.0:8080", addr.parse("*:8080", "listen"))
  end)

  it("means this machine by a port alone where it connects", function()
    assert.equal("127.0.0.1:9000", addr.parse(":9000", "connect"))
    local address, problem = addr.parse("*:9000", "connect")
    assert.is_nil(address)
    assert.matches("for listening", problem)
  end)

  it("refuses everything else", function()
    for _, text in ipairs({
      "", "localhost", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:0",
      "127.0.0.1:65536", "127.0.0.1:080808", "256.0.0.1:80", "1.2.3:80", "1.2.3.4.5:80", "1..2:80",
      "-x:80", "a b:80", "a..b:80", "http://x:80", "::1:80", "[::1]", "[::1]:", "[]:80", "[:]:80",
      "[1:2]:80", "[1::2::3]:80", "[12345::]:80", "[:::1]:80", "[1:2:3:4:5:6:7:8:9]:80",
      "[::1:80", "[1.2.3.4]:80", "[1:2:3:4:5:6:7:]:80", "unix:", "unix:run/x.sock", "unix:/",
      "unix:/run/", "unix:/a\nb", "unix:/" .. ("x"):rep(107), "127.0.0.1:80 ",
    }) do
      assert.is_nil((addr.parse(text, "listen")), text)
    end
    for _, value in ipairs({ true, 8080, {} }) do
      assert.is_nil((addr.parse(value, "listen")))
    end
  end)

  it("says what is wrong where that is more than the form", function()
    local function problem(text)
      return select(2, addr.parse(text, "listen"))
    end
    assert.matches("1 to 65535", problem("x:70000"))
    assert.matches("absolute path", problem("unix:x.sock"))
    assert.matches("at most 107 bytes, this one has 108", problem("unix:/" .. ("x"):rep(107)))
  end)

  it("takes the longest path that a socket may have", function()
    local longest = "unix:/" .. ("x"):rep(106)
    assert.equal(longest, addr.parse(longest, "listen"))
  end)
end)
