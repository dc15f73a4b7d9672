-- Specs of moongate.cli.curl: which request curl would send.

local curl = require("moongate.cli.curl")

describe("a command line of curl", function()
  local function request(...)
    local what, problem = curl.request({ ... })
    return assert(what, problem)
  end

  local function headers(...)
    local lines = {}
    for i, header in ipairs(request(...).headers) do
      lines[i] = header[1] .. ": " .. header[2]
    end
    return lines
  end

  it("is a GET of its URL", function()
    local what = request("-sS", "https://a.test/x?y=1#z")
    assert.equal("GET", what.method)
    assert.equal("https://a.test/x?y=1", what.url)
    assert.is_nil(what.body)
    assert.equal("http://a.test", request("a.test").url)
    assert.same({ "User-Agent: curl", "Accept: */*" }, headers("a.test"))
  end)

  it("has the headers that are named, and not those taken away", function()
    assert.same({ "X-A: b", "X-Empty: ", "Cookie: c=d", "Accept: */*" },
      headers("a.test", "-H", "X-A: b", "-HX-Empty;", "-b", "c=d", "--header", "User-Agent:"))
    assert.same({ "User-Agent: me", "Referer: r", "Range: bytes=1-2", "Accept: */*" },
      headers("a.test", "-A", "me", "-e", "r", "-r", "1-2"))
  end)

  it("posts data", function()
    local what = request("a.test", "-d", "a=b", "--data-raw", "@c")
    assert.equal("POST", what.method)
    assert.equal("a=b&@c", what.body)
    assert.equal("a=b%26&c%3D", request("a.test", "--data-urlencode", "a=b&", "--data-urlencode",
      "=c=").body)
    assert.same({ "User-Agent: curl", "Accept: */*",
      "Content-Type: application/x-www-form-urlencoded" }, headers("a.test", "-d", "a"))
    assert.same({
      "Accept: application/json", "User-Agent: curl", "Content-Type: application/json",
    }, headers("a.test", "--json", "{}"))
    assert.equal("PUT", request("a.test", "-XPUT", "-d", "a").method)
  end)

  it("gets data with -G, and a head with -I", function()
    local what = request("-G", "a.test/?x", "-d", "a=b")
    assert.equal("GET", what.method)
    assert.equal("http://a.test/?x&a=b", what.url)
    assert.is_nil(what.body)
    assert.equal("HEAD", request("-I", "a.test").method)
    assert.equal("1.0", request("-0", "a.test").version)
  end)

  it("reads files", function()
    local path = os.tmpname()
    finally(function() os.remove(path) end)
    local file = assert(io.open(path, "wb"))
    file:write("a\r\nb")
    file:close()
    assert.equal("ab", request("a.test", "-d", "@" .. path).body)
    assert.equal("a\r\nb", request("a.test", "--data-binary", "@" .. path).body)
    local what = request("a.test", "-T", path)
    assert.equal("PUT", what.method)
    assert.equal("a\r\nb", what.body)
  end)

  it("is refused where it is not understood", function()
    local function problem(...)
      return select(2, curl.request({ ... }))
    end
    assert.equal("curl: option '--heder' is not understood; did you mean '--header'?; leave it out "
      .. "if it says nothing about the request", problem("a.test", "--heder", "a"))
    assert.equal("curl: '-H' needs a value", problem("a.test", "-H"))
    assert.equal("curl: there is no URL", problem("-s"))
    assert.matches("is a second URL", problem("a.test", "b.test"))
    assert.matches("^curl: /nonexistent: No such file", problem("a.test", "-d", "@/nonexistent"))
    assert.matches("expected 'Name: value'", problem("a.test", "-H", "x"))
  end)
end)
