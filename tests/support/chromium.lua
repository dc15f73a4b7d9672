-- A headless Chromium that a scenario drives through its DevTools protocol: JSON messages over a
-- WebSocket (RFC 6455). What its pages ask for, and what they complain of, is kept.
--
--   local page = chromium.open("http://127.0.0.1:9500/")
--   page:wait("document.title", function(title) return title == "Moongate" end)
--   page:eval("document.querySelector('button').click()")
--   page:close()

local http = require("tests.support.http")
local json = require("moongate.base.json")
local mime = require("mime")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local socket = require("socket")

local chromium = {}

---@class ChromiumPage
---@field urls string[] what its page has asked for
---@field complaints string[] what stands in the console that is no plain message
local Page = {}
Page.__index = Page

-- Root has no sandbox of Chromium's, nor has a container. Nothing is asked of Google, and what runs
-- beside a busy machine's tests has no timers of its own that end it.
local FLAGS = {
  "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
  "--disable-default-apps", "--disable-extensions", "--disable-hang-monitor", "--no-proxy-server",
  "--disable-renderer-backgrounding", "--disable-background-timer-throttling",
  "--disable-features=Translate,MediaRouter,OptimizationHints", "--password-store=basic",
  "--remote-debugging-port=0", "--hide-scrollbars", "--force-device-scale-factor=1",
}

-- Of a WebSocket's frames: what a whole text is, that it is masked, and longer lengths.
local TEXT, CLOSE, PING, MASKED, WORD, LONG = 0x81, 0x88, 0x89, 0x80, 126, 127

--- A frame as a client sends it. The mask of zeros leaves the text as it is.
local function frame(text)
  local size = #text
  local head
  if size < WORD then
    head = string.char(TEXT, MASKED + size)
  elseif size < 65536 then
    head = string.char(TEXT, MASKED + WORD, math.floor(size / 256), size % 256)
  else
    head = string.char(TEXT, MASKED + LONG, 0, 0, 0, 0, math.floor(size / 2 ^ 24),
      math.floor(size / 2 ^ 16) % 256, math.floor(size / 256) % 256, size % 256)
  end
  return head .. "\0\0\0\0" .. text
end

local function big_endian(bytes)
  local value = 0
  for i = 1, #bytes do
    value = value * 256 + bytes:byte(i)
  end
  return value
end

--- The next text; those that are none are left out.
local function read_text(conn)
  while true do
    local kind, size = conn:read(2):byte(1, 2)
    if size == WORD then
      size = big_endian(conn:read(2))
    elseif size == LONG then
      size = big_endian(conn:read(8))
    end
    local text = conn:read(size)
    if kind == TEXT then
      return text
    elseif kind == CLOSE or kind ~= PING then
      error(("a frame of kind 0x%x from Chromium"):format(kind), 0)
    end
  end
end

local function upgrade(address, path)
  local conn = net.connect(address)
  conn:send(("GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    .. "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n"):format(path, address,
    mime.b64(("k"):rep(16))))
  local head = conn:read_until("\r\n\r\n")
  assert(head:match("^HTTP/1%.1 101 "), head)
  return conn
end

--- Is this a page's own request? Chromium counts the page that it begins with, and the icon.
local function is_foreign(url)
  return not url:find("^data:") and not url:find("^about:") and not url:find("^chrome")
end

local function note(self, event)
  local what = event.params or {}
  if event.method == "Network.requestWillBeSent" and is_foreign(what.request.url) then
    table.insert(self.urls, what.request.url)
  elseif event.method == "Log.entryAdded" and what.entry.level ~= "verbose"
    and what.entry.level ~= "info" then
    table.insert(self.complaints, ("%s: %s %s"):format(what.entry.level, what.entry.text,
      what.entry.url or ""))
  elseif event.method == "Runtime.exceptionThrown" then
    local details = what.exceptionDetails
    table.insert(self.complaints, (details.exception and details.exception.description)
      or details.text)
  elseif event.method == "Runtime.consoleAPICalled" and what.type ~= "log" then
    table.insert(self.complaints, "console." .. what.type)
  end
end

--- One command, and its result.
---@param method string
---@param params? table
---@return table
function Page:call(method, params)
  self.last = self.last + 1
  self.conn:send(frame(json.encode({ id = self.last, method = method, params = params })))
  while true do
    local message = assert(json.decode(read_text(self.conn)))
    if message.id == self.last then
      if message.error then
        error(method .. ": " .. tostring(message.error.message), 2)
      end
      return message.result
    end
    note(self, message)
  end
end

--- The value of an expression, which may be a promise.
---@param expression string JavaScript
---@return any
function Page:eval(expression)
  local got = self:call("Runtime.evaluate", {
    expression = expression, returnByValue = true, awaitPromise = true,
  })
  if got.exceptionDetails then
    local exception = got.exceptionDetails.exception
    error(("%s\n%s"):format(expression, exception and exception.description
      or got.exceptionDetails.text), 2)
  end
  return got.result.value
end

--- Waits until an expression has a value, which a condition may look at.
---@param expression string
---@param condition? fun(value: any): any
---@return any value
function Page:wait(expression, condition)
  local value
  local ok = poll.try(function()
    value = self:eval(expression)
    if condition then
      return condition(value)
    end
    return value
  end, poll.PATIENCE)
  if not ok then
    error(("%s is %s still; the page says:\n%s\n%s"):format(expression, tostring(value),
      self:eval("document.body.innerText"), table.concat(self.complaints, "\n")), 2)
  end
  return value
end

--- Presses a key, which goes where the focus is.
---@param key string as in KeyboardEvent.key, such as "Tab"
function Page:press(key)
  local codes = { Tab = 9, Enter = 13, [" "] = 32 }
  local texts = { Enter = "\r", [" "] = " " }
  for _, kind in ipairs({ texts[key] and "keyDown" or "rawKeyDown", "keyUp" }) do
    self:call("Input.dispatchKeyEvent", {
      type = kind, key = key, code = key == " " and "Space" or key,
      windowsVirtualKeyCode = codes[key], text = kind == "keyDown" and texts[key] or nil,
    })
  end
end

--- Writes a picture of the page.
---@param path string *.png
function Page:picture(path)
  local data = self:call("Page.captureScreenshot", { format = "png" }).data
  local file = assert(io.open(path, "wb"))
  file:write((mime.unb64(data)))
  file:close()
end

--- How large the window is, and which colours the user likes.
---@param width integer
---@param height integer
---@param scheme? "dark"|"light"
function Page:view(width, height, scheme)
  self:call("Emulation.setDeviceMetricsOverride", {
    width = width, height = height, deviceScaleFactor = 1, mobile = width < 600,
  })
  self:call("Emulation.setEmulatedMedia", {
    features = json.list({ { name = "prefers-color-scheme", value = scheme or "light" } }),
  })
end

--- Ends the browser.
function Page:close()
  if self.process then
    self.conn:close()
    self.process:stop(5)
    self.process = nil
  end
end

--- Starts a browser with one page.
---@param url string
---@param flags? string[] more words of its command line
---@return ChromiumPage
function chromium.open(url, flags)
  local folder = process.tempdir("chromium")
  local argv = { "chromium", unpack(FLAGS) }
  for _, flag in ipairs(flags or {}) do
    argv[#argv + 1] = flag
  end
  argv[#argv + 1] = "--user-data-dir=" .. folder .. "/profile"
  argv[#argv + 1] = "about:blank"
  local self = setmetatable({ last = 0, urls = {}, complaints = {} }, Page)
  self.process = process.spawn({
    argv = argv, env = { HOME = folder, TMPDIR = folder, XDG_RUNTIME_DIR = folder },
    stdout = folder .. "/stdout", stderr = folder .. "/stderr",
  })
  local ok, problem = pcall(function()
    local port = poll.wait(function()
      if not self.process:alive() then
        error("it has ended", 0)
      end
      local text = process.read_file(folder .. "/profile/DevToolsActivePort")
      return text and text:match("^(%d+)\n")
    end, "the port of Chromium")
    local address = "127.0.0.1:" .. port
    local target = poll.wait(function()
      local client = http.open(address)
      local list = json.decode(client:request({ path = "/json/list" }).body)
      client:close()
      for _, one in ipairs(list) do
        if one.type == "page" then
          return one
        end
      end
    end, "a page of Chromium")
    self.conn = upgrade(address, target.webSocketDebuggerUrl:match("^ws://[^/]+(/.*)$"))
    for _, domain in ipairs({ "Page", "Network", "Log", "Runtime" }) do
      self:call(domain .. ".enable")
    end
    self:call("Page.navigate", { url = url })
    poll.wait(function() -- an answer may be of the page before
      local asked, loaded = pcall(self.eval, self,
        "location.href !== 'about:blank' && document.readyState === 'complete'")
      return asked and loaded
    end, "the page " .. url)
  end)
  if not ok then
    self.process:stop(5)
    error(("Chromium: %s\n%s"):format(tostring(problem),
      process.read_file(folder .. "/stderr") or ""), 2)
  end
  return self
end

--- Lets a moment pass in which the page does what it does by itself.
chromium.pause = socket.sleep

return chromium
