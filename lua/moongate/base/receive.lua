-- moongate.base.receive owns what a script may ask of the bytes that a connection of its own has
-- brought: so many, a line, all, what comes before a text. They are methods of moongate.tcp's
-- sockets, with the results of OpenResty's; core/script/net/tcp.c keeps the bytes and reads more.

local core = require("moongate.core")
local describe = require("moongate.base.describe")

local fill, find, take = core.tcp_fill, core.tcp_find, core.tcp_take

local methods = core.tcp_methods

local MOST = 64 * 1024 * 1024 -- bytes that a socket keeps
local TEXT_MOST = 4096 -- of a text that is searched

--- Reads on until `get` finds what is wanted in what has come. `get` returns it; or nil, and the
--- number of bytes that it need not search again; or false and the reason why nothing can be read.
--- The last two parameters are what fill has returned; the part that it gives is out of the socket.
local function read(get, socket, what, seen, ok, reason, part)
  if not ok then
    if part then
      return nil, reason, part
    end
    return nil, reason
  end
  local found, more = get(socket, what, seen)
  if found then
    return found
  elseif found == false then
    return nil, more
  end
  return read(get, socket, what, more, fill(socket, what))
end

local function bytes(socket, size)
  return take(socket, size)
end

local function line(socket, _, seen)
  local size, more = find(socket, "\n", seen)
  if not size then
    return size, more
  end
  local text = take(socket, size, 1)
  return text:byte(-1) == 13 and text:sub(1, -2) or text
end

local function any(socket, most)
  local size, reason = find(socket)
  if size == 0 then
    return nil
  end
  return size and take(socket, math.min(size, most)), reason
end

local function all(text, reason, part)
  if reason == "closed" and part then
    return part
  elseif part then
    return nil, reason, part
  end
  return text, reason
end

--- So many bytes, or nil where that is no number of them.
local function size_of(value, least)
  local size = tonumber(value)
  return size and size >= least and size % 1 == 0 and size or nil
end

--- So many bytes; a line, without its end (`"*l"`, the default); or all up to the end (`"*a"`).
---@param socket userdata
---@param what? integer|string
---@return string|nil
---@return string|nil reason
---@return string|nil part
function methods.receive(socket, what)
  if what == nil or what == "*l" then
    return read(line, socket, nil, 0, true)
  elseif what == "*a" then
    return all(read(bytes, socket, math.huge, 0, true))
  end
  local size = size_of(what, 0)
  if not size then
    error(("receive: expected a number of bytes%s, got %s"):format(
      tonumber(what) and "" or ", \"*l\" or \"*a\"", describe(what)), 2)
  elseif size > MOST then
    return nil, "more than 64 MB at once"
  end
  return read(bytes, socket, size, 0, true)
end

--- What is there; waits where there is nothing.
---@param socket userdata
---@param most integer bytes
---@return string|nil
---@return string|nil reason
---@return string|nil part
function methods.receiveany(socket, most)
  local size = size_of(most, 1)
  if not size then
    error("receiveany: expected a number of bytes, got " .. describe(most), 2)
  end
  return read(any, socket, size, 0, true)
end

-- A stretch that is read in parts: `begun` when one has been handed out, `over` when all have.
local OVER = {}

--- What comes before the text, or a part of it of so many bytes.
local function stretch(socket, state, seen)
  local part, text = state.part, state.text
  local size, more = find(socket, text, seen)
  if size == false then
    return false, more
  elseif part and (size and size > part or not size and more >= part) then
    state.begun = true
    return take(socket, part)
  elseif not size then
    return nil, more
  end
  local found = state.inclusive and take(socket, size + #text) or take(socket, size, #text)
  local empty = part and state.begun and found == ""
  state.begun, state.over = false, part and not empty
  return empty and OVER or found
end

local function parted(state, found, reason, part)
  if found == OVER then
    return nil, nil, nil -- nothing more, and that is no error
  elseif found then
    return found
  elseif part then
    state.begun, state.over = false, false
    return nil, reason, part
  end
  return nil, reason
end

--- A function that returns what comes before a text; with a size in parts of at most so many bytes,
--- and then nil.
---@param socket userdata
---@param text string
---@param options? { inclusive?: boolean } whether the text belongs to what is returned
---@return fun(size?: integer): string|nil, string|nil, string|nil
function methods.receiveuntil(socket, text, options)
  find(socket) -- misuse is told at once
  if type(text) ~= "string" then
    error("receiveuntil: expected a text, got " .. describe(text), 2)
  elseif #text == 0 or #text > TEXT_MOST then
    error(("receiveuntil: expected a text of 1 to %d bytes, got one of %d"):format(TEXT_MOST,
      #text), 2)
  elseif options ~= nil and type(options) ~= "table" then
    error("receiveuntil: expected a table such as { inclusive = true } as second argument, got "
      .. describe(options), 2)
  end
  local state = { text = text, inclusive = options and options.inclusive }
  return function(part)
    local size = part ~= nil and size_of(part, 0) or nil
    if part ~= nil and not size then
      error("receiveuntil's iterator: expected a number of bytes, got " .. describe(part), 2)
    elseif size and size > MOST then
      return nil, "more than 64 MB at once"
    elseif state.over then
      state.over = false
      return nil, nil, nil
    elseif size == 0 then
      return ""
    end
    state.part = size
    return parted(state, read(stretch, socket, state, 0, true))
  end
end
