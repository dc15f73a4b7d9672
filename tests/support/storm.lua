-- A storm: clients of all manners, good and bad, against a server with backends of both kinds, for
-- 34b-storm. Each request has a token of its own, which all that is made for it must bring back.
--
--   local s = storm.new({ plain = ADDR, announced = ADDR, unix = ADDR, files = CONTENTS })
--   s:clients(40, 6)               members of a crowd that go on for so many seconds
--   s.crowd:run(60)
--   s:check_lines(access_log)      each request has had its one line

local crowd = require("tests.support.crowd")
local http = require("tests.support.http")
local rig = require("tests.support.rig")
local socket = require("socket")

local storm = {}

---@class StormOptions
---@field plain string address of the listener
---@field announced string that of the one with the PROXY protocol
---@field unix string that of the one on a unix socket
---@field files table<string, string> content of what lies in the site, by name
---@field only? string[] names of kinds; all by default
---@field lossy? boolean workers are killed: any request may be cut, or fail
---@field seed? integer

---@class StormRequest
---@field kind string
---@field answered boolean its status has come
---@field malformed? boolean what was sent of it need not have reached a hook

---@class Storm
---@field crowd Crowd
---@field requests table<integer, StormRequest> by token
---@field counts table<string, integer> what became of them
local Storm = {}
Storm.__index = Storm

local KINDS = {} ---@type table<string, fun(self: Storm)>
local CUT = {} -- the error of a client whose connection has been cut where that may be
local PATIENCE = 100 -- seconds for one answer: the queue's time, and that of a busy machine

---@param options StormOptions
---@return Storm
function storm.new(options)
  local self = setmetatable({
    options = options, crowd = crowd.new(), requests = {}, counts = {}, tokens = 0,
  }, Storm)
  math.randomseed(options.seed or 1)
  self.names = options.only or {}
  if #self.names == 0 then
    for name in pairs(KINDS) do
      self.names[#self.names + 1] = name
    end
    table.sort(self.names)
  end
  return self
end

local function chance(part)
  return math.random() < part
end

local function one_of(list)
  return list[math.random(#list)]
end

function Storm:count(what)
  self.counts[what] = (self.counts[what] or 0) + 1
end

-- A request's token, which is noted as under way.
function Storm:token(kind)
  self.tokens = self.tokens + 1
  self.requests[self.tokens] = { kind = kind, answered = false }
  return self.tokens
end

-- Clients -----------------------------------------------------------------------------------------

-- A connection by one of the listeners, and the address that its requests must be known by.
function Storm:open()
  local options = { timeout = PATIENCE }
  local way = math.random(6)
  if way == 1 then
    return crowd.open(self.options.unix, options), "unix:"
  elseif way <= 3 then
    local client = crowd.open(self.options.announced, options)
    local ip = ("192.0.2.%d"):format(math.random(9))
    client.conn:send(("PROXY TCP4 %s 198.51.100.1 %d 443\r\n"):format(ip, math.random(65535)))
    return client, ip
  end
  return crowd.open(self.options.plain, options), "127.0.0.1"
end

-- Headers that change whose a request is, and whose it is then.
local function forwarded(ip)
  if ip ~= "127.0.0.1" or chance(0.5) then
    return {}, ip
  end
  local client = ("198.51.100.%d"):format(math.random(9))
  return { [one_of { "X-Forwarded-For", "X-FORWARDED-for" }] = "203.0.113.9, " .. client }, client
end

local SIZES = { 0, 10, 1000, 30000, 70000, 70000, 300000 }

-- A body that no other request has.
local function body_of(token)
  return ("%d;"):format(token) .. rig.pattern(one_of(SIZES))
end

local function pieces_of(body, count)
  local pieces, from = {}, 1
  local step = math.ceil(#body / count)
  while from <= #body do
    pieces[#pieces + 1] = body:sub(from, from + step - 1)
    from = from + step
  end
  return pieces
end

-- Sends a request, which is a POST where it has a body: in one of all manners, at once, chunked, in
-- pieces.
local function send(client, request, body)
  local manner = body and math.random(4)
  request.method = body and "POST" or request.method
  if not body then
    client:send(request)
  elseif manner == 1 then
    request.body = pieces_of(body, math.random(5))
    client:send(request)
  elseif manner == 2 then
    request.headers["Content-Length"] = tostring(#body)
    client:send(request)
    client.conn:drip(pieces_of(body, math.random(6)), math.random() * 0.01)
  else
    request.body = body
    client:send(request)
  end
end

-- The answer to a request; what the first hook knew of it is checked. Nil where the connection was
-- cut, if that may be.
function Storm:receive(client, token, request, may_be_cut)
  local noted = self.requests[token]
  local ok, res = pcall(client.receive, client, request.method, { timeout = PATIENCE })
  if not ok then
    if not (may_be_cut or self.options.lossy) or not client.conn.ended then
      error(("%d, %s %s: %s"):format(token, request.method or "GET", request.path, res), 0)
    end
    noted.answered = noted.answered or client.conn.buffer ~= ""
    self:count(noted.kind .. " cut")
    if self.options.lossy then
      client:close()
      error(CUT, 0)
    end
    return nil
  end
  noted.answered = true
  self:count(noted.kind .. " " .. res.status)
  local mine = res.headers["x-mine"]
  if self.options.lossy and res.status >= 500 then
    client:close()
    error(CUT, 0)
  elseif mine ~= tostring(token) or res.headers["x-ip"] ~= request.ip then
    error(("%d, %s %s: an answer of %d to request %s of %s, not of %s:\n%s"):format(token,
      request.method or "GET", request.path, res.status, tostring(mine),
      tostring(res.headers["x-ip"]), request.ip, res.head .. res.body:sub(1, 300)), 0)
  end
  return res
end

local function expect(res, status, token, request)
  if res.status ~= status then
    error(("%d, %s %s: status %d\n%s"):format(token, request.method or "GET", request.path,
      res.status, res.body:sub(1, 500)), 0)
  end
end

-- The application's own token, and what it says of the body.
local function expect_own(res, token, request, body)
  expect(res, 200, token, request)
  local sum = body and rig.sum(body)
  if res.headers["x-token"] ~= tostring(token) or sum and res.body:sub(1, #sum) ~= sum then
    error(("%d, %s: the application's answer to request %s, %q instead of %q"):format(token,
      request.path, tostring(res.headers["x-token"]), res.body:sub(1, 100), tostring(sum)), 0)
  end
  return res
end

-- What the responder is told in the query.
local function commands(token, text)
  return ("?Token=%d&header=X-Token:%%20%d&%s"):format(token, token, text)
end

local function request_of(ip, fields)
  local headers, client = forwarded(ip)
  fields.headers, fields.ip = headers, client
  return fields
end

-- One connection with a few requests, of which each is made and asked by `ask`.
function Storm:talk(most, ask)
  local client, ip = self:open()
  for _ = 1, math.random(most) do
    if ask(client, ip).headers.connection == "close" then
      break
    end
    if chance(0.2) then
      crowd.sleep(math.random() * 0.02)
    end
  end
  client:close()
end

-- Kinds -------------------------------------------------------------------------------------------

function KINDS.get(self)
  self:talk(5, function(client, ip)
    local token = self:token("get")
    local path = one_of { "/calm/x.php", "/calm/x.php", "/tcp/x.php" }
    local request = request_of(ip, { path = path .. commands(token, "body=x") })
    client:send(request)
    return expect_own(self:receive(client, token, request), token, request)
  end)
end

-- Over unix sockets no POST is lost to a kept connection, and none to a busy one.
function KINDS.post(self)
  self:talk(4, function(client, ip)
    local token = self:token("post")
    local body = body_of(token)
    local path = one_of { "/calm/x.php", "/stream/x.php" }
    local request = request_of(ip, { path = path .. commands(token, "sum") })
    send(client, request, body)
    return expect_own(self:receive(client, token, request), token, request, body)
  end)
end

function KINDS.php(self)
  self:talk(4, function(client, ip)
    local token = self:token("php")
    local body = chance(0.6) and body_of(token)
    local more = one_of { "", "", "&bytes=100000", "&ms=5", "&after=10" }
    local request = request_of(ip, { path = ("/php/storm.php?Token=%d%s"):format(token, more) })
    send(client, request, body)
    return expect_own(self:receive(client, token, request), token, request, body or "")
  end)
end

-- PHP whose processes die: an error or a cut is an answer, another request's is none.
function KINDS.dying(self)
  local client, ip = self:open()
  local token = self:token("dying")
  local body = chance(0.5) and body_of(token)
  local request = request_of(ip, {
    path = ("/dying/storm.php?Token=%d%s"):format(token,
      one_of { "&ms=20", "&die=1", "&bytes=300000", "" }),
  })
  local sent = pcall(send, client, request, body)
  local res = self:receive(client, token, request, true)
  if sent and res and res.status == 200 and not request.path:find("die=", 1, true) then
    expect_own(res, token, request, body or "")
  end
  client:close()
end

-- A script that waits, and asks a backend itself; one that asks another backend in place of the
-- one that has answered, which gets the whole body again.
function KINDS.hook(self)
  self:talk(3, function(client, ip)
    local token = self:token("hook")
    local body = chance(0.5) and body_of(token)
    local request = request_of(ip, {
      path = body and "/calm/x.php" .. commands(token, "body=x&Swap=1")
        or ("/hook?Token=%d&ms=%d"):format(token, math.random(0, 20)),
    })
    send(client, request, body)
    return expect_own(self:receive(client, token, request), token, request,
      body or ("a body of %d"):format(token))
  end)
end

function KINDS.file(self)
  self:talk(5, function(client, ip)
    local token = self:token("file")
    local name = one_of { "small.txt", "large.bin", "large.bin" }
    local request = request_of(ip, { path = ("/site/%s?Token=%d"):format(name, token) })
    local content, status = self.options.files[name], 200
    if chance(0.4) then
      local first = math.random(#content) - 1
      local last = math.min(#content - 1, first + math.random(200000))
      request.headers.Range = ("bytes=%d-%d"):format(first, last)
      content, status = content:sub(first + 1, last + 1), 206
    end
    client:send(request)
    local res = self:receive(client, token, request)
    expect(res, status, token, request)
    assert(res.body == content, "the file's content")
    return res
  end)
end

-- What an application hands over: a file, another route, a path of its own.
function KINDS.accel(self)
  self:talk(3, function(client, ip)
    local token = self:token("accel")
    local header = one_of {
      "X-Accel-Redirect:%%20/files/large.bin",
      "X-Accel-Redirect:%%20/inner/storm.php%%3FToken%%3D%d",
      "Location:%%20/php/storm.php%%3FToken%%3D%d",
    }
    local body = chance(0.5) and body_of(token)
    local request = request_of(ip, {
      path = "/calm/x.php" .. commands(token, "header=" .. header:format(token)),
    })
    send(client, request, body)
    local res = self:receive(client, token, request)
    if header:find("large.bin", 1, true) then
      expect(res, 200, token, request)
      assert(res.body == self.options.files["large.bin"], "the file's content")
    else
      expect_own(res, token, request, "")
    end
    return res
  end)
end

local FAULTS = {
  "fail=close-before-head", "fail=close-after-head&size=9000", "fail=close-mid-body&size=300000",
  "fail=no-end&size=100", "fail=hang", "fail=hang-after-head", "fail=hang-mid-body&size=90000",
  "fail=hang-before-end&body=x", "fail=after-end&body=x", "fail=wrong-id", "fail=wrong-version",
  "fail=wrong-type", "fail=garbage", "fail=begin", "fail=short-end", "fail=cut-end",
  "fail=end-only", "fail=mgmt&body=x", "fail=close-before-head&rst",
  "fail=close-mid-body&size=300000&rst",
  "close=end&body=x", "next=close&body=x", "next=close&rst&body=x", "idle=5&body=x",
  "work=20&body=x", "close=work&work=8&body=x", "close=end&rst&size=100000", "early&body=x",
  "noread&body=x", "noread=30&body=x", "early&close=end&rst&body=x", "protocol=1", "protocol=2",
  "head=none", "head=empty", "head=no-colon", "head=control", "head=nul", "head=no-end",
  "head=space", "length=+5&size=1000", "length=-5&size=1000", "stderr_size=90000&body=x",
  "stderr=gone&stderr_at=end&body=x", "delay=80&body=x", "end_delay=80&body=x", "status=404&body=x",
  "pieces=20&piece_delay=2&size=20000", "record=7&pad=3&write=11&size=2000", "big=70000&body=x",
}

-- A backend that fails in each phase; with `Or=php` on_error asks PHP-FPM instead.
function KINDS.bad(self)
  local client, ip = self:open()
  for _ = 1, math.random(3) do
    local token = self:token("bad")
    local body = chance(0.5) and body_of(token)
    local or_php = chance(0.3) and one_of { "&Or=php", "&Or=php&Late=1" } or ""
    local request = request_of(ip, {
      method = one_of { "GET", "GET", "PUT" },
      path = one_of { "/bad/x.php", "/badtcp/x.php", "/badstream/x.php" }
        .. commands(token, one_of(FAULTS)) .. or_php,
    })
    local sent = pcall(send, client, request, body)
    local res = self:receive(client, token, request, true)
    if not res then
      break
    elseif res.headers["x-fallback"] and res.status == 200 and sent
      and not request.path:find("stream", 1, true) then
      expect_own(res, token, request, body or "")
    elseif res.status == 200 and res.headers["x-token"] ~= tostring(token) then
      error(("%d: the answer of %s"):format(token, tostring(res.headers["x-token"])), 0)
    end
    if not sent or res.headers.connection == "close" then
      break
    end
  end
  client:close()
end

-- Answers that the client reads slowly, and sometimes not to their end.
function KINDS.slow(self)
  local client, ip = self:open()
  local token = self:token("slow")
  local size = one_of { 300000, 2000000 }
  local request = request_of(ip, {
    path = one_of {
      "/calm/x.php" .. commands(token, "size=" .. size),
      "/raw/x.php" .. commands(token, "size=" .. size),
      ("/php/storm.php?Token=%d&bytes=%d"):format(token, size),
    },
  })
  client:send(request)
  if chance(0.4) then
    crowd.sleep(math.random() * 0.3)
  end
  if chance(0.3) then
    self.requests[token].answered = client.conn:read_some() ~= ""
    client.conn:reset()
    return
  end
  local res = self:receive(client, token, request)
  expect_own(res, token, request)
  assert(#res.body >= size, "a short body")
  client:close()
end

-- Several requests at once.
function KINDS.pipeline(self)
  local client, ip = self:open()
  local list, bytes = {}, {}
  for i = 1, math.random(6) do
    local token = self:token("pipeline")
    local request = request_of(ip, { path = one_of {
      "/calm/x.php" .. commands(token, "body=x"), ("/php/storm.php?Token=%d"):format(token),
      ("/site/small.txt?Token=%d"):format(token), ("/reply?Token=%d"):format(token),
      "/bad/x.php" .. commands(token, "status=404&body=x"),
    } })
    list[i] = { token = token, request = request }
    bytes[i] = (http.format(request))
  end
  client.conn:send(table.concat(bytes))
  for _, one in ipairs(list) do
    local res = self:receive(client, one.token, one.request)
    if res.headers.connection == "close" then
      break -- an error of the server's own, behind which nothing is answered
    end
  end
  client:close()
end

-- Clients that go in each phase, by a reset or in good order.
function KINDS.leave(self)
  local client, ip = self:open()
  local token = self:token("leave")
  local body = body_of(token)
  local request = request_of(ip, {
    method = "POST",
    path = one_of {
      "/calm/x.php" .. commands(token, "sum"),
      "/calm/x.php" .. commands(token, "delay=30&size=100000"),
      "/stream/x.php" .. commands(token, "echo=stream"),
      "/bad/x.php" .. commands(token, "delay=100&body=x"),
      "/bad/x.php" .. commands(token, "fail=close-before-head&Or=php&Late=1"),
      "/calm/x.php" .. commands(token, "body=x&Swap=1"),
      ("/hook?Token=%d&ms=20"):format(token),
      ("/php/storm.php?Token=%d&ms=20&bytes=50000"):format(token),
      ("/site/large.bin?Token=%d"):format(token),
    },
  })
  request.headers["Content-Length"] = tostring(#body)
  local head = http.format(request)
  local phase = math.random(5)
  if phase == 1 then
    self.requests[token].malformed = true
    client.conn:try_send(head:sub(1, math.random(#head - 1)))
  elseif phase == 2 then
    client.conn:try_send(head)
  elseif phase == 3 then
    client.conn:try_send(head .. body:sub(1, math.random(#body) - 1))
  else
    client.conn:try_send(head .. body)
  end
  if chance(0.7) then
    crowd.sleep(math.random() * 0.05)
  end
  if phase == 5 then
    local ok, bytes = pcall(client.conn.read_some, client.conn)
    self.requests[token].answered = ok and bytes ~= ""
  end
  self:count("leave")
  if chance(0.7) then
    client.conn:reset()
  elseif chance(0.5) then
    client.conn:finish()
    pcall(client.conn.read_all, client.conn)
    client:close()
  else
    client:close()
  end
end

-- The storm ---------------------------------------------------------------------------------------

-- What clients of a server whose workers end may run into.
local function may_happen(problem)
  return problem == CUT or tostring(problem):find("send: ", 1, true)
    or tostring(problem):find("connect to ", 1, true)
end

--- Adds clients that come again and again for so many seconds.
---@param count integer
---@param seconds number
function Storm:clients(count, seconds)
  local deadline = socket.gettime() + seconds
  for i = 1, count do
    self.crowd:add("client " .. i, function()
      while socket.gettime() < deadline and #self.crowd.problems == 0 do
        local ok, problem = pcall(KINDS[one_of(self.names)], self)
        if not ok and not (self.options.lossy and may_happen(problem)) then
          error(problem, 0)
        end
      end
    end)
  end
end

--- Adds what is repeated while the clients are there.
---@param name string
---@param seconds number
---@param pause number
---@param action fun(turn: integer)
function Storm:repeatedly(name, seconds, pause, action)
  local deadline = socket.gettime() + seconds
  self.crowd:add(name, function()
    local turn = 0
    while socket.gettime() + pause < deadline do
      crowd.sleep(pause)
      turn = turn + 1
      action(turn)
      self:count(name)
    end
  end)
end

--- Raises an error unless each request that was answered has one line in the access log, and each
--- that was left by its client has one at most.
---@param access string
function Storm:check_lines(access)
  local lines, foreign, headless = {}, {}, 0
  for line in access:gmatch("[^\n]+") do
    local token = tonumber(line:match("[?&]Token=(%d+)") or line:match("[?&]Token%%3D(%d+)"))
    if token and self.requests[token] then
      lines[token] = (lines[token] or 0) + 1
    elseif line:find('"uri":""', 1, true) then
      headless = headless + 1
    elseif not line:find('"uri":"/reply"', 1, true) then -- such are the test's own
      foreign[#foreign + 1] = line
    end
  end
  local problems, left = {}, 0
  for token, request in ipairs(self.requests) do
    local count = lines[token] or 0
    left = left + (request.malformed and 1 or 0)
    if count > 1 or request.answered and count == 0 then
      problems[#problems + 1] = ("request %d (%s) has %d lines"):format(token, request.kind, count)
    end
  end
  if headless > left then
    problems[#problems + 1] = ("%d lines of %d requests without a head"):format(headless, left)
  end
  for _, line in ipairs(foreign) do
    problems[#problems + 1] = "whose line is this: " .. line
  end
  if #problems > 0 then
    error(table.concat(problems, "\n", 1, math.min(20, #problems)), 2)
  end
end

--- What the responder found wrong. A body that is streamed in chunks has no CONTENT_LENGTH.
---@param log string
---@return string|nil
function storm.violation(log)
  local streams, found = {}, {}
  for line in log:gmatch("[^\n]+") do
    local where = line:match("^VIOLATION (conn=%d+ nth=%d+) CONTENT_LENGTH 0 and ")
    if where then
      found[where] = line
    elseif line:find("^VIOLATION") then
      return line
    elseif line:find("^START") and line:find("uri=/%a*stream/") then
      streams[line:match("conn=%d+") .. " " .. line:match("nth=%d+")] = true
    end
  end
  for where, line in pairs(found) do
    if not streams[where] then
      return line
    end
  end
  return nil
end

--- What became of the requests, in one line.
---@return string
function Storm:summary()
  local names, parts = {}, {}
  for name in pairs(self.counts) do
    names[#names + 1] = name
  end
  table.sort(names)
  for i, name in ipairs(names) do
    parts[i] = ("%s: %d"):format(name, self.counts[name])
  end
  return ("%d requests; %s"):format(self.tokens, table.concat(parts, ", "))
end

return storm
