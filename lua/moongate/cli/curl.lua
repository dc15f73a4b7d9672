-- moongate.cli.curl owns the reading of a curl command line: which request curl would send. Called
-- by cli.request, so that what a user has tried, or a browser offers by "Copy as cURL", can be
-- explained as it is.

local suggest = require("moongate.base.suggest")
local url = require("moongate.base.url")

local M = {}

-- Options that say nothing about the request; true: a value follows.
local IGNORED = {
  ["-k"] = false, ["--insecure"] = false, ["-s"] = false, ["--silent"] = false, ["-S"] = false,
  ["--show-error"] = false, ["-v"] = false, ["--verbose"] = false, ["-i"] = false,
  ["--include"] = false, ["-f"] = false, ["--fail"] = false, ["-L"] = false, ["--location"] = false,
  ["-N"] = false, ["--no-buffer"] = false, ["-g"] = false, ["--globoff"] = false, ["-#"] = false,
  ["--path-as-is"] = false, ["-4"] = false, ["-6"] = false, ["--http1.1"] = false,
  ["--http2"] = false, ["--fail-with-body"] = false, ["--no-progress-meter"] = false,
  ["-o"] = true, ["--output"] = true, ["-w"] = true, ["--write-out"] = true, ["-m"] = true,
  ["--max-time"] = true, ["--connect-timeout"] = true, ["--resolve"] = true,
  ["--connect-to"] = true, ["--retry"] = true, ["-c"] = true, ["--cookie-jar"] = true,
  ["-D"] = true, ["--dump-header"] = true, ["--unix-socket"] = true, ["--cacert"] = true,
  ["--interface"] = true, ["-x"] = true, ["--proxy"] = true,
}

--- The text of a value, which `@FILE` takes from a file.
---@return string|nil text
---@return string|nil problem
local function content_of(value, strip)
  local path = value:match("^@(.*)$")
  if not path then
    return value
  end
  local file, problem = io.open(path, "rb")
  local text = file and file:read("*a")
  if file then
    file:close()
  end
  if not text then
    return nil, ("curl: %s"):format(problem or path .. ": it cannot be read")
  end
  return strip and text:gsub("[\r\n%z]", "") or text
end

-- Options that make the request: what each does with its value, nil where it takes none.
local VALUES, FLAGS = {}, {}

local function add_data(state, text)
  state.data[#state.data + 1] = text
end

local function data_option(strip)
  return function(state, value)
    local text, problem = content_of(value, strip)
    if not text then
      return problem
    end
    add_data(state, text)
  end
end

local function header_option(name)
  return function(state, value)
    state.headers[#state.headers + 1] = { name, value }
  end
end

VALUES["-X"] = function(state, value)
  state.method = value
end
VALUES["--url"] = function(state, value)
  state.url = value
end
VALUES["-H"] = function(state, value)
  local name, text = value:match("^([^:;%s]+)[:;]%s*(.-)%s*$")
  if not name then
    return ("curl: -H '%s': expected 'Name: value'"):format(value)
  end
  if text == "" and value:find(":", 1, true) then
    state.without[name:lower()] = true -- "Accept:" takes away what curl would send
  else
    state.headers[#state.headers + 1] = { name, text }
  end
end
VALUES["-d"] = data_option(true)
VALUES["--data-binary"] = data_option(false)
VALUES["--data-raw"] = add_data
VALUES["--data-urlencode"] = function(state, value)
  local name, text = value:match("^([^=@]*)=(.*)$")
  add_data(state, (name and name ~= "" and name .. "=" or "") .. url.escape(text or value))
end
VALUES["--json"] = function(state, value)
  state.kind = "application/json"
  state.headers[#state.headers + 1] = { "Accept", "application/json" }
  return data_option(false)(state, value)
end
VALUES["-F"] = function(state, value)
  state.kind = "multipart/form-data; boundary=------------------------0123456789abcdef"
  state.method = state.method or "POST"
  local text, problem = content_of(value:match("^[^=]*=([^;]*)") or value)
  if not text then
    return problem
  end
  add_data(state, text) -- its size is what counts here
end
VALUES["-T"] = function(state, value)
  state.method = state.method or "PUT"
  state.upload = true
  return data_option(false)(state, "@" .. value)
end
VALUES["-u"] = function(state, value)
  state.user = value
end
VALUES["-A"] = header_option("User-Agent")
VALUES["-e"] = header_option("Referer")
VALUES["-b"] = header_option("Cookie")
VALUES["-r"] = function(state, value)
  state.headers[#state.headers + 1] = { "Range", "bytes=" .. value }
end

FLAGS["-I"] = function(state)
  state.method = state.method or "HEAD"
end
FLAGS["-G"] = function(state)
  state.get = true
end
FLAGS["--compressed"] = function(state)
  state.headers[#state.headers + 1] = { "Accept-Encoding", "deflate, gzip, br, zstd" }
end
FLAGS["-0"] = function(state)
  state.version = "1.0"
end

for long, short in pairs({
  ["--request"] = "-X", ["--header"] = "-H", ["--data"] = "-d", ["--data-ascii"] = "-d",
  ["--form"] = "-F", ["--upload-file"] = "-T", ["--user"] = "-u", ["--user-agent"] = "-A",
  ["--referer"] = "-e", ["--cookie"] = "-b", ["--range"] = "-r",
}) do
  VALUES[long] = VALUES[short]
end
for long, short in pairs({ ["--head"] = "-I", ["--get"] = "-G", ["--http1.0"] = "-0" }) do
  FLAGS[long] = FLAGS[short]
end

local function takes_value(name)
  return VALUES[name] ~= nil or IGNORED[name] == true
end

local function is_known(name)
  return VALUES[name] ~= nil or FLAGS[name] ~= nil or IGNORED[name] ~= nil
end

local function unknown(name)
  local known = {}
  for _, set in ipairs({ VALUES, FLAGS, IGNORED }) do
    for option in pairs(set) do
      known[#known + 1] = option
    end
  end
  return ("curl: option '%s' is not understood%s; leave it out if it says nothing about the "
    .. "request"):format(name, suggest.hint(name, known))
end

--- Reads one word that begins with a dash, and the words behind it that belong to it. "-sS" is two
--- options, "-XPOST" one with its value.
---@return integer next
---@return string|nil problem
local function read_option(state, words, at)
  local word = words[at]
  local name, rest = word, nil
  if word:sub(1, 2) ~= "--" then
    name, rest = word:sub(1, 2), #word > 2 and word:sub(3) or nil
  end
  if not is_known(name) then
    return at, unknown(name)
  end
  if takes_value(name) then
    local value = rest or words[at + 1]
    if value == nil then
      return at, ("curl: '%s' needs a value"):format(name)
    end
    local problem = VALUES[name] and VALUES[name](state, value)
    return at + (rest and 1 or 2), problem
  end
  if FLAGS[name] then
    FLAGS[name](state)
  end
  if rest then
    words[at] = "-" .. rest
    return at
  end
  return at + 1
end

local function has_header(headers, name)
  for _, header in ipairs(headers) do
    if header[1]:lower() == name then
      return true
    end
  end
  return false
end

--- What curl adds by itself.
local function add_defaults(state)
  local function add(name, value)
    if not state.without[name:lower()] and not has_header(state.headers, name:lower()) then
      state.headers[#state.headers + 1] = { name, value }
    end
  end
  if state.user then
    add("Authorization", "Basic " .. require("moongate.hash").base64(state.user))
  end
  add("User-Agent", "curl")
  add("Accept", "*/*")
  if #state.data > 0 and not state.get and not state.upload then
    add("Content-Type", state.kind or "application/x-www-form-urlencoded")
  end
end

--- The request of a command line.
---@param words string[] without "curl" itself
---@return moongate.testing.simulate.Request|nil request
---@return string|nil problem
function M.request(words)
  local state = { headers = {}, without = {}, data = {} }
  words = { unpack(words) }
  local at = 1
  while at <= #words do
    local word = words[at]
    if #word > 1 and word:sub(1, 1) == "-" then
      local problem
      at, problem = read_option(state, words, at)
      if problem then
        return nil, problem
      end
    elseif state.url then
      return nil, ("curl: '%s' is a second URL; one request is explained at a time"):format(word)
    else
      state.url, at = word, at + 1
    end
  end
  if not state.url then
    return nil, "curl: there is no URL"
  end
  local target = state.url:match("^%a[%w+.-]*://") and state.url or "http://" .. state.url
  target = target:gsub("#.*$", "")
  local data = #state.data > 0 and table.concat(state.data, "&") or nil
  if state.get and data then
    target, data = target .. (target:find("?", 1, true) and "&" or "?") .. data, nil
  end
  add_defaults(state)
  return {
    method = state.method or data and "POST" or "GET", url = target, headers = state.headers,
    body = data, version = state.version,
  }
end

return M
