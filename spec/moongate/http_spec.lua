-- Specs of moongate.http: whose fault a wrong use is. What goes over the wire is in
-- tests/integration/69d-http_spec.lua.

local http = require("moongate.http")

describe("moongate.http", function()
  local URL = "http://h/"
  for _, case in ipairs({
    { nil, "expected a table of options, got nothing" },
    { { ulr = URL }, "unknown key 'ulr'; did you mean 'url'?" },
    { {}, 'url: expected a text such as "http://127.0.0.1:8080/check", got nothing' },
    { { url = "https://h/" }, "url: https:// is not available: there is no TLS yet; let HAProxy, "
      .. "nginx or stunnel on this machine speak it, and name its http:// address" },
    { { url = URL, method = "GE T" }, 'method: expected a word such as "POST", got "GE T"' },
    { { url = URL, body = {} }, "body: expected a text, got a table" },
    { { url = URL, socket = "/run/x" }, 'socket: expected a path such as "unix:/run/app.sock", got '
      .. '"/run/x"' },
    { { url = URL, timeout = 0 }, 'timeout: expected a duration such as 5, "250ms", "2m" or "1h", '
      .. "above zero, got 0" },
    { { url = URL, limit = "x" }, 'limit: expected a size such as 4096, "16k", "1M" or "1G", got '
      .. '"x"' },
    { { url = URL, headers = "x" }, 'headers: expected a table, got "x"' },
    { { url = URL, headers = { ["a b"] = "x" } }, "headers: 'a b' can't be the name of a header" },
    { { url = URL, headers = { Connection = "x" } },
      "headers: 'Connection' is not a script's to say" },
    { { url = URL, headers = { A = "b\r\nC: d" } },
      "headers: 'A': expected a text without control characters, got \"b??C: d\"" },
  }) do
    it("says: " .. case[2], function()
      local ok, message = pcall(function()
        local answer = http.request(case[1])
        return answer
      end)
      assert.is_false(ok)
      assert.equal("http.request: " .. case[2], message:match("http_spec.lua:%d+: (.*)$"))
    end)
  end

  for _, url in ipairs({ "h", "ftp://h/", "http://", "http:///x", "http://user@h/", "http://h:/",
    "http://h:99999/", "http://h/a b", "http://h/\r\nX: y", "http://h/\228", "http://[::1/" }) do
    it("takes no " .. url:gsub("%c", "?"), function()
      local ok, message = pcall(http.request, { url = url })
      assert.is_false(ok)
      assert.matches("url: expected one such as", message)
    end)
  end
end)
