-- Specs of moongate.base.addr.

local addr = require("moongate.base.addr")

describe("addr.parse", function()
  it("keeps addresses that are in their one form", function()
    for _, text in ipairs({
      "127.0.0.1:8080", "localhost:1", "php-fpm:9000", "app_1.internal:65535", "[::1]:80",
      "[2001:db8::1]:8080", "[1:2:3:4:5:6:7:8]:1", "[::ffff:10.0.0.1]:80", "0.0.0.0:80",
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
      "010.0.0.1:80", "1.2.3.04:80", "[::ffff:10.0.0.01]:80", "[fe80::1%eth0]:80", "[::1%lo]:80",
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
    assert.matches("with a zone", problem("[fe80::1%eth0]:80"))
    assert.matches("at most 107 bytes, this one has 108", problem("unix:/" .. ("x"):rep(107)))
  end)

  it("takes the longest path that a socket may have", function()
    local longest = "unix:/" .. ("x"):rep(106)
    assert.equal(longest, addr.parse(longest, "listen"))
  end)
end)

describe("addr.network", function()
  it("takes addresses, networks and unix sockets", function()
    for _, text in ipairs({
      "10.0.0.1", "10.0.0.0/8", "0.0.0.0/0", "192.0.2.128/25", "192.0.2.255/32", "::1", "::/0",
      "2001:db8::/32", "2001:db8::8000:0:0:0/65", "fe80::1/128", "::ffff:10.0.0.0/104",
      "1:2:3:4:5:6:7:8", "unix:",
    }) do
      assert.equal(text, addr.network(text))
    end
  end)

  it("refuses everything else", function()
    for _, text in ipairs({
      "", "/", "/8", "10.0.0.0/", "10.0.0.0/8/8", "10.0.0.0/x", "10.0.0.0/-1", "10.0.0.0/33",
      "10.0.0.0/0008", "::/129", "10.0.0/8", "10.0.0.256", "010.0.0.1", "localhost", "a.test/8",
      "[::1]", "::1%lo", "fe80::%eth0/10", "10.0.0.1:80", "unix:/run/x.sock", " 10.0.0.1", "1:2",
    }) do
      assert.is_nil((addr.network(text)), text)
    end
    for _, value in ipairs({ true, 8, {} }) do
      assert.is_nil((addr.network(value)))
    end
  end)

  it("says which network was meant where bits are set behind the prefix", function()
    local function meant(text)
      local network, problem = addr.network(text)
      assert.is_nil(network)
      return problem:match("is (%S+) meant, or (%S+) alone")
    end
    assert.same({ "10.0.0.0/8", "10.0.0.1" }, { meant("10.0.0.1/8") })
    assert.same({ "192.0.2.64/26", "192.0.2.100" }, { meant("192.0.2.100/26") })
    assert.same({ "0.0.0.0/0", "0.0.0.1" }, { meant("0.0.0.1/0") })
    assert.same({ "2001:db8:0:0:0:0:0:0/32", "2001:db8::1" }, { meant("2001:db8::1/32") })
    assert.same({ "0:0:0:0:0:0:0:0/64", "::1" }, { meant("::1/64") })
  end)
end)
