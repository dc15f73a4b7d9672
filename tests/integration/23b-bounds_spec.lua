-- The bounds of the contract section 7, each one byte (or one of them) below, at, and above. A row
-- says what is made of a size, and the status above the bound.

local http = require("tests.support.http")
local net = require("tests.support.net")
local rig = require("tests.support.rig")

-- Sends bytes as they are and returns the status, and all that came.
local function status_of(r, bytes)
  local conn = net.connect(r.address)
  conn:try_send(bytes) -- it may be refused before all of it was read
  local reply = conn:read_all(10)
  conn:close()
  return tonumber(reply:match("^HTTP/1%.1 (%d%d%d) ")), reply
end

local CLOSE = "Connection: close\r\n"

-- A request whose part that `make` fills up has exactly this many bytes.
local function filled(size, before, after)
  return before .. ("a"):rep(size - #before - #after) .. after
end

local GET = "GET /x.php?sum HTTP/1.1\r\nHost: a\r\n"
local POST = "POST /x.php?sum HTTP/1.1\r\nHost: a\r\n" .. CLOSE
local CHUNKED = POST .. "Transfer-Encoding: chunked\r\n\r\n"

local HEADS = {
  { "request_line", 8192, 414, function(size)
    return filled(size, "GET /x.php?sum&A=", " HTTP/1.1\r\n") .. "Host: a\r\n" .. CLOSE .. "\r\n"
  end },
  { "header", 16384, 431, function(size)
    return filled(size, GET .. CLOSE .. "X-A: ", "\r\n\r\n")
  end },
  { "headers", 100, 431, function(count)
    return GET .. CLOSE .. ("X-A: b\r\n"):rep(count - 2) .. "\r\n"
  end },
  { "headers, of trailers", 100, 431, function(count)
    return CHUNKED .. "0\r\n" .. ("X-A: b\r\n"):rep(count) .. "\r\n"
  end },
  { "header, of trailers", 16384, 431, function(size) -- without the line feeds
    return CHUNKED .. "0\r\nX-A: " .. ("b"):rep(size - #"X-A: \r\r") .. "\r\n\r\n"
  end },
  { "header, of chunk extensions", 16384, 431, function(size) -- so, too, and the last line's end
    return CHUNKED .. "1;" .. ("e"):rep(size - #";\r\r") .. "\r\nx\r\n0\r\n\r\n"
  end },
  { "Connection's names", 100, 431, function(count)
    return GET .. "Connection: close" .. (", x"):rep(count - 1) .. "\r\n\r\n"
  end },
}

describe("a head", function()
  local r

  setup(function() r = rig.start() end)

  teardown(function() r:stop() end)

  for _, case in ipairs(HEADS) do
    local name, bound, status, make = unpack(case)
    for _, off in ipairs({ -1, 0, 1 }) do
      local want = off > 0 and status or 200
      it(("of %s %+d is %d"):format(name, off, want), function()
        local got, reply = status_of(r, make(bound + off))
        assert.equal(want, got, reply)
      end)
    end
  end
end)

-- Bodies: by a length, in one chunk, in chunks of one byte; kept first, or streamed.
local function by_length(size)
  return ("Content-Length: %d\r\n\r\n"):format(size), ("b"):rep(size)
end
local function in_one_chunk(size)
  return "Transfer-Encoding: chunked\r\n\r\n", http.chunks({ ("b"):rep(size) })
end
local function in_bytes(size)
  return "Transfer-Encoding: chunked\r\n\r\n", ("1\r\nb\r\n"):rep(size) .. "0\r\n\r\n"
end

for name, limits in pairs({
  ["body"] = [[body = 8192]],
  ["body, beyond request_memory"] = [[body = 8192, request_memory = 1024]],
  ["request_memory and spool"] = [[body = "1M", request_memory = 4096, spool = 4096]],
  ["request_memory, without a spool"] = [[body = "1M", request_memory = 8192, spool = 0]],
}) do
  describe("a request's body, by limits." .. name, function()
    local r

    setup(function()
      r = rig.start({
        violations = true, -- a length of 0 beside a body: the responder's word for none at all
        settings = ("limits = { %s }"):format(limits),
        on_request = [[
          if req.args.Streamed then
            return { backend = "app", docroot = "/srv/app", request_buffering = false }
          elseif req.args.Own then
            return { backend = "app", docroot = "/srv/app", body_limit = 8100 }
          end
        ]],
      })
    end)

    teardown(function() r:stop() end)

    for framing, make in pairs({
      ["Content-Length"] = by_length, ["one chunk"] = in_one_chunk, ["chunks of a byte"] = in_bytes,
    }) do
      for _, case in ipairs({ { "", 8192 }, { "&Own=1", 8100 }, { "&Streamed=1", 8192 } }) do
        local commands, bound = unpack(case)
        -- What is streamed needs no room here.
        local has_bound = commands ~= "&Streamed=1" or name:find("^body")
        for _, off in ipairs({ -1, 0, 1 }) do
          local want = off > 0 and has_bound and 413 or 200
          it(("%+d bytes as %s is %d: %s"):format(off, framing, want, commands), function()
            local head, body = make(bound + off)
            local got, reply = status_of(r, "POST /x.php?sum" .. commands
              .. " HTTP/1.1\r\nHost: a\r\n" .. CLOSE .. head .. body)
            assert.equal(want, got, reply)
            if want == 200 then
              assert.is_truthy(reply:find(rig.sum(("b"):rep(bound + off)), 1, true))
            end
          end)
        end
      end
    end

    -- Nothing more comes, and nothing more has to.
    for _, commands in ipairs({ "", "&Streamed=1" }) do
      if commands == "" or name:find("^body") then
        it("is 413 when its chunk is announced: " .. commands, function()
          local client = http.open(r.address)
          client.conn:send("POST /x.php?sum" .. commands .. " HTTP/1.1\r\nHost: a\r\n"
            .. "Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n1fff\r\n")
          assert.equal(413, client:receive("POST").status)
          client:close()
        end)
      end
    end

    it("is 413 when its length is announced", function()
      local client = http.open(r.address)
      client.conn:send("POST /x.php?sum HTTP/1.1\r\nHost: a\r\nContent-Length: 8193\r\n\r\n")
      assert.equal(413, client:receive("POST").status)
      client:close()
    end)
  end)
end

describe("a variable", function()
  local r

  setup(function()
    r = rig.start({
      settings = [[
        limits = { param_size = "1M" },
        on_params = function(req, params)
          if req.args.Size then
            params.X_LONG = ("x"):rep(tonumber(req.args.Size) - #"X_LONG")
          end
          for i = 1, tonumber(req.args.Count or 0) do
            params["X_" .. i] = "x"
          end
          if req.args.Fill then
            local count = 0
            for _ in params:each() do count = count + 1 end
            for i = count + 1, tonumber(req.args.Fill) do
              params["X_" .. i] = "x"
            end
            params.REQUEST_METHOD = "GET" -- one that is there can still be assigned
          end
        end]],
      on_request = [[
        if req.args.Decided then
          local params = {}
          for i = 1, tonumber(req.args.Decided) do params["X_" .. i] = "x" end
          return { backend = "app", docroot = "/srv/app", params = params }
        end
      ]],
    })
  end)

  teardown(function() r:stop() end)

  -- Name and value together: where a length takes four bytes instead of one, where pairs fill a
  -- record, and the most that a record can hold with both lengths.
  for _, size in ipairs({ 6, 7, 132, 133, 134, 135, 4095, 4096, 4097, 32755, 32760, 32763, 32767,
    32768, 32769, 65526, 65527 }) do
    it(("of %d bytes arrives"):format(size), function()
      local params = rig.params(r:get("dump&Size=" .. size))
      assert.equal(size - #"X_LONG", #params.X_LONG)
    end)
  end

  it("of more than a record is 431", function()
    for _, size in ipairs({ 65528, 65529, 65535, 65536, 200000 }) do
      assert.equal(431, r:get("dump&Size=" .. size).status, size)
    end
  end)

  it("of param_size is sent, of one more byte is 431", function()
    local small = rig.start({
      settings = [[limits = { param_size = 4096 }, on_params = function(req, params)
        params.X_LONG = ("x"):rep(tonumber(req.args.Size) - #"X_LONG")
      end]],
    })
    finally(function() small:stop() end)
    for size, status in pairs({ [4095] = 200, [4096] = 200, [4097] = 431 }) do
      assert.equal(status, small:get("Size=" .. size).status, size)
    end
  end)

  it("may be one of a thousand", function()
    for count, status in pairs({ [999] = 200, [1000] = 200, [1001] = 500, [2000] = 500 }) do
      assert.equal(status, r:get("Decided=" .. count).status, count)
      local res = r:get("dump&Fill=" .. count)
      assert.equal(status, res.status, count)
      if status == 200 then
        assert.equal(count, select(2, res.body:gsub("\n", "")))
      end
    end
  end)
end)

describe("an answer's head, by limits.response_header", function()
  local r

  setup(function()
    r = rig.start({ settings = [[limits = { response_header = 1000 }]] })
  end)

  teardown(function() r:stop() end)

  for _, record in ipairs({ "", "&record=1", "&record=999" }) do
    for _, off in ipairs({ -1, 0, 1 }) do
      local want = off > 0 and 502 or 200
      it(("of %+d bytes is %d: %s"):format(off, want, record), function()
        local fixed = #"Content-Type: text/plain\r\nX-Big: \r\n\r\n"
        assert.equal(want, r:get("big=" .. 1000 + off - fixed .. record).status)
      end)
    end
  end
end)

describe("limits.keepalive_requests", function()
  it("are answered on one connection, and the last one says so", function()
    local r = rig.start({ settings = [[limits = { keepalive_requests = 3 }]] })
    finally(function() r:stop() end)
    local client = http.open(r.address)
    for i = 1, 3 do
      local res = client:request({ path = rig.target("") })
      assert.equal(200, res.status)
      assert.equal(i == 3 and "close" or nil, res.headers.connection)
    end
    assert.is_true(client.conn:closes(3))
    client:close()
  end)
end)
