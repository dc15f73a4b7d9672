-- moongate.base.messages owns what an application wrote to FCGI_STDERR, as data: texts taken
-- apart into messages, paths of the backend turned into paths of this machine, one printable line
-- for the log. Called by the core with the text of one request (handle). Pure: no state, no I/O.
--
-- PHP-FPM sends "PHP message: PHP Warning:  TEXT in FILE on line N" and puts "; " between two
-- messages; FPM's own ("Primary script unknown") have no "PHP message: ". A message may have
-- several lines, and is cut at 1024 bytes: it then ends in "..." and has lost its place. php-cgi
-- and other applications write plain lines. "; PHP message: " within a message looks like the
-- beginning of another one: nothing in what comes over the wire tells them apart. PHP 7.0 to 8.2.1
-- put nothing between two messages, or a line end.
--
-- Everything here takes time in proportion to the text, whatever it holds.

local describe = require("moongate.base.describe")

local M = {}

local byte, find, format, match, sub = string.byte, string.find, string.format, string.match,
  string.sub

--- One thing that an application had to say.
---@class Message
---@field level "fatal"|"parse"|"error"|"warning"|"notice"|"deprecated"|"info"
---@field text string as it came, without its prefix and without " in FILE on line N"
---@field file? string
---@field line? integer

--- At most so many messages come of one text; the last one is then all that is left.
M.MAX_MESSAGES = 1000
--- A line shows at most so many bytes of a text, and half as many of a file's name.
M.MAX_SHOWN = 2048

local PHP_MESSAGE = "PHP message: "

-- What FPM says itself. It follows "; " where PHP has said something before.
local UNKNOWN = "Primary script unknown"
local DENIED, UNREADABLE = "Access to the script '", "Unable to open primary script: "

-- The words of php_error_cb (main/main.c of PHP) for the kinds of errors.
local LEVELS = {
  ["Fatal error"] = "fatal",
  ["Recoverable fatal error"] = "fatal",
  ["Catchable fatal error"] = "fatal",
  ["Parse error"] = "parse",
  ["Warning"] = "warning",
  ["Notice"] = "notice",
  ["Strict Standards"] = "notice",
  ["Deprecated"] = "deprecated",
  ["Unknown error"] = "error",
}

local LABELS = {
  fatal = "PHP Fatal error: ",
  parse = "PHP Parse error: ",
  warning = "PHP Warning: ",
  notice = "PHP Notice: ",
  deprecated = "PHP Deprecated: ",
}

local function starts(text, prefix, from)
  return sub(text, from or 1, (from or 1) + #prefix - 1) == prefix
end

local function is_blank(code)
  return code == 32 or (code ~= nil and code >= 9 and code <= 13)
end

-- A pattern like "%s*$" looks again from every blank.
local function trim_end(text)
  local stop = #text
  while is_blank(byte(text, stop)) do
    stop = stop - 1
  end
  return sub(text, 1, stop)
end

-- Files and lines ---------------------------------------------------------------------------------

--- Where " in FILE" begins that ends the text: the last " in " that a path or a word of PHP's for
--- "no file" follows. A folder's name may hold " in " as well, but hardly one before a slash.
local function last_place(text, from)
  local place
  local at = find(text, " in ", from, true)
  while at do
    local after = at + 4
    if byte(text, after) == 47 or find(text, "^%a[%w+.-]*:[/\\]", after)
      or find(text, "^Unknown$", after) or find(text, "^Command line code$", after) then
      place = at
    end
    at = find(text, " in ", at + 3, true)
  end
  return place
end

local function last_line_start(text)
  local start = #text
  while start > 0 and byte(text, start) ~= 10 do
    start = start - 1
  end
  return start + 1
end

--- Takes the name of a file off the end of a text.
---@return string|nil text what stands before; nil where no file is named
---@return string|nil file nil for PHP's "Unknown"
local function cut_file(text)
  local at = last_place(text, last_line_start(text))
  if not at then
    return nil
  end
  local file = sub(text, at + 4)
  if file == "Unknown" or file == "Command line code" then
    file = nil
  end
  return sub(text, 1, at - 1), file
end

--- Moves " in FILE on line N" from a message's text to its fields.
local function split_place(message)
  local text = message.text
  local start = last_line_start(text)
  local at, line
  -- Digits are only looked at from the end: "on line" may stand there a thousand times.
  local stop = #text
  while stop >= start and find(text, "^%d", stop) do
    stop = stop - 1
  end
  if stop < #text and sub(text, stop - 8, stop) == " on line " then
    at, line = stop - 9, tonumber(sub(text, stop + 1))
  end
  if not at then
    return
  end
  local before, file = cut_file(sub(text, 1, at))
  if not before then
    return
  end
  message.text = before
  if not file then
    return
  end
  -- "/a.php(2) : eval()'d code": the file that is there, and the line in it.
  local name_end, code_start, outer = find(file, "%((%d+)%) : ")
  if name_end then
    message.text = format("%s in %s on line %d", before, sub(file, code_start + 1), line)
    file, line = sub(file, 1, name_end - 1), tonumber(outer)
  end
  message.file, message.line = file, line
end

--- An uncaught exception: "Uncaught X in FILE:N", its trace, and where it was thrown at
--- the end, unless the message was cut before that.
local function split_exception(message)
  split_place(message)
  local text = message.text
  if message.file then
    if sub(text, -9) == "\n  thrown" then
      message.text = sub(text, 1, -10)
    end
    return
  end
  local trace = find(text, "\nStack trace:", 1, true)
  if trace then
    local head = sub(text, 1, trace - 1)
    local colon = #head
    while find(head, "^%d", colon) do
      colon = colon - 1
    end
    if colon < #head and byte(head, colon) == 58 then
      local before, file = cut_file(sub(head, 1, colon - 1))
      if before and file then
        message.file, message.line = file, tonumber(sub(head, colon + 1))
      end
    end
  end
end

-- One message -------------------------------------------------------------------------------------

--- The level that a text of PHP begins with.
---@param text string
---@param from integer where to look
---@return string|nil level
---@return integer|nil length of what says so
local function level_of(text, from)
  if not starts(text, "PHP ", from) then
    return nil
  end
  local name, after = match(sub(text, from + 4, from + 35), "^(%a[%a ]*):  ?()")
  local level = name and LEVELS[name]
  return level, level and after + 3
end

--- What PHP's error_log() or error handler wrote.
local function php_message(text, otherwise)
  local level, length = level_of(text, 1)
  local message = { level = level or otherwise, text = trim_end(sub(text, (length or 0) + 1)) }
  if level == "fatal" and starts(message.text, "Uncaught ") then
    split_exception(message)
  elseif level then
    split_place(message)
  end
  return message
end

--- What FPM says itself about the script.
local function fpm_message(text)
  text = trim_end(text)
  local file
  if starts(text, DENIED) then
    local stop = find(text, "' has been denied", 1, true)
    file = stop and sub(text, #DENIED + 1, stop - 1)
  elseif starts(text, UNREADABLE) then
    local stop = #text
    while stop > 0 and byte(text, stop) ~= 40 do
      stop = stop - 1
    end
    file = stop > #UNREADABLE + 2 and sub(text, #UNREADABLE + 1, stop - 2)
  end
  return { level = "error", text = text, file = file or nil }
end

-- A text ------------------------------------------------------------------------------------------

local function is_fpm(text, from)
  return starts(text, UNKNOWN, from) or starts(text, DENIED, from)
    or starts(text, UNREADABLE, from)
end

--- The next "; " from `from` on behind which a message begins.
---@return integer|nil at
---@return integer|nil length
local function next_joint(text, from)
  local at = find(text, "; ", from, true)
  while at do
    local code = byte(text, at + 2) -- only P, A and U are worth a closer look
    if (code == 80 or code == 65 or code == 85)
      and (starts(text, PHP_MESSAGE, at + 2) or is_fpm(text, at + 2)) then
      return at, 2
    end
    at = find(text, "; ", at + 1, true)
  end
  return nil
end

--- Whether nothing joins the messages, as in old versions of PHP. A text of those begins with a
--- message, and none is behind "; ".
local function is_unjoined(text)
  local from = find(text, "[^\n]") or 1
  return (starts(text, PHP_MESSAGE, from) or is_fpm(text, from))
    and not next_joint(text, 1)
end

--- The next place from `from` on where a message follows another one without a joint. A blank
--- before it is part of a sentence about such messages.
---@return integer|nil at
---@return integer|nil length of the line end that is there
local function next_unjoined(text, from)
  local at = find(text, PHP_MESSAGE, from, true)
  while at do
    local code = byte(text, at - 1)
    if at > from and code == 10 then
      return at - 1, 1
    elseif at > from and not is_blank(code) then
      return at, 0
    end
    at = find(text, PHP_MESSAGE, at + 1, true)
  end
  return nil
end

--- Where the line ends that begins at `from`.
local function line_end(text, from)
  return (find(text, "\n", from, true) or #text + 1) - 1
end

--- The end of a message of lines that begins at `from`: white space or '#' begin a line that
--- belongs to the one before. What PHP's error handler wrote goes on until a line names its place.
local function lines_end(text, from)
  local level = level_of(text, from)
  local start, stop = from, line_end(text, from)
  while stop < #text do
    local code = byte(text, stop + 2)
    local goes_on = code == nil or is_blank(code) or code == 35
      or (level and not level_of(text, stop + 2)
        and not find(sub(text, start, stop), " on line %d+%s*$"))
    if not goes_on then
      break
    end
    start = stop + 2
    stop = line_end(text, start)
  end
  return stop
end

--- Messages of an application that writes lines.
---@param text string
---@param messages Message[] gets more
---@return integer|nil rest where that begins for which there is no room
local function parse_lines(text, messages)
  local from = 1
  while from <= #text do
    if #messages + 1 >= M.MAX_MESSAGES then
      return from
    end
    local stop = lines_end(text, from)
    local whole = trim_end(sub(text, from, stop))
    if whole ~= "" then
      messages[#messages + 1] = php_message(whole, "error")
    end
    from = stop + 2
  end
  return nil
end

--- One part of a text: from one joint to the next.
---@return integer|nil rest of the part where that begins for which there is no room
local function parse_part(part, messages)
  if starts(part, PHP_MESSAGE) then
    local message = php_message(sub(part, #PHP_MESSAGE + 1), "info")
    if message.text ~= "" or message.file then -- error_log("") says nothing
      messages[#messages + 1] = message
    end
  elseif is_fpm(part, 1) then
    messages[#messages + 1] = fpm_message(part)
  else
    return parse_lines(part, messages)
  end
end

--- Takes apart what came on FCGI_STDERR during one request.
---@param text string any bytes
---@return Message[] messages empty where nothing but white space came
function M.parse(text)
  local messages = {}
  -- A text that is not the first of its request begins with what joins it to that.
  local from = next_joint(text, 1) == 1 and 3 or 1
  -- Where a script could not be opened nothing ran, and the rest is its name: clients choose that.
  if starts(text, DENIED, from) or starts(text, UNREADABLE, from) then
    return { fpm_message(sub(text, from)) }
  end
  local next_end = is_unjoined(text) and next_unjoined or next_joint
  while from <= #text do
    local joint, length = next_end(text, from)
    local rest = joint and #messages + 1 >= M.MAX_MESSAGES and 1
      or parse_part(sub(text, from, (joint or #text + 1) - 1), messages)
    if rest then
      messages[#messages + 1] = { level = "error", text = trim_end(sub(text, from + rest - 1)) }
      break
    end
    from = (joint or #text) + (length or 1)
  end
  return messages
end

-- Paths -------------------------------------------------------------------------------------------

local function without_slashes(path)
  local stop = #path
  while stop > 0 and byte(path, stop) == 47 do
    stop = stop - 1
  end
  return sub(path, 1, stop)
end

--- Is the byte before a place in a text one that a path can't go on from?
local function begins_path(text, at)
  return at == 1 or find(text, "^[%s'\"`(%[{=:,;|>]", at - 1) ~= nil
end

--- Every path below `docroot` in a text with `root` in its place; both without slashes at the end.
local function map_text(text, docroot, root)
  local needle = docroot == "" and "/" or docroot
  -- A whole root alone is no path worth mapping, and "1 / 2" has none.
  local behind = docroot == "" and "^[%w._-]" or "^[^%w._~%%+@#\128-\255-]"
  local parts, from, length = {}, 1, #text
  local at = find(text, needle, 1, true)
  while at do
    local after = at + #needle
    if begins_path(text, at)
      and (find(text, behind, after) or (after > length and docroot ~= "")) then
      parts[#parts + 1] = sub(text, from, at - 1)
      parts[#parts + 1] = root
      from = at + #docroot
      at = find(text, needle, after, true)
    else
      at = find(text, needle, at + 1, true)
    end
  end
  if from == 1 then
    return text
  end
  parts[#parts + 1] = sub(text, from)
  return table.concat(parts)
end

--- Turns paths of the backend into paths of this machine, in `file` and wherever a whole path
--- stands in `text`. Changes the messages.
---@param messages Message[]
---@param docroot string|nil the site as the backend sees it
---@param root string|nil the site as this machine sees it
---@return Message[] messages
function M.map(messages, docroot, root)
  if not docroot or not root then
    return messages
  end
  docroot, root = without_slashes(docroot), without_slashes(root)
  if docroot == root then
    return messages
  end
  for i = 1, #messages do
    local message = messages[i]
    local file = message.file
    if file and starts(file, docroot) and byte(file, #docroot + 1) == 47 then
      message.file = root .. sub(file, #docroot + 1)
    end
    message.text = map_text(message.text, docroot, root)
  end
  return messages
end

-- The log -----------------------------------------------------------------------------------------

--- What stands in a line for the bytes from `at` on, and how many those are.
local function shown(text, at)
  local code = byte(text, at)
  if code == 10 then
    local stop = at
    while is_blank(byte(text, stop + 1)) do
      stop = stop + 1
    end
    return " | ", stop - at + 1
  elseif code == 9 then
    return "\\t", 1
  elseif code == 13 and byte(text, at + 1) == 10 then
    return "", 1
  elseif code < 32 or code == 127 then
    return format("\\x%02x", code), 1
  elseif code == 0xc2 and find(text, "^[\128-\159]", at + 1) then
    return format("\\xc2\\x%02x", byte(text, at + 1)), 2 -- U+0080 to U+009F are controls, too
  end
  return nil, 1
end

--- Bytes as one line: line ends become " | " (and what indents the next line goes), other control
--- bytes "\x1b". Backslashes stay, since namespaces have them.
local function printable(text, limit)
  if #text <= limit and not find(text, "[%c\194]") then
    return text
  end
  local parts, used, at, length = {}, 0, 1, #text
  while at <= length do
    local part, taken = shown(text, at)
    part = part or sub(text, at, at)
    if used + #part > limit then
      break
    end
    used, at = used + #part, at + taken
    parts[#parts + 1] = part
  end
  if at <= length then
    for _ = 1, 3 do -- not in the middle of a character
      if find(text, "^[\128-\191]", at) and find(parts[#parts], "^[\128-\255]$") then
        parts[#parts], at = nil, at - 1
      end
    end
    parts[#parts + 1] = format(" ... (%d bytes more)", length - at + 1)
  end
  return table.concat(parts)
end

--- A message as one printable line, such as "PHP Warning: Undefined variable $x in /srv/a.php:3".
---@param message Message
---@return string # MAX_SHOWN bytes of the text at most, half as many of the file
function M.line(message)
  local text, file = tostring(message.text or ""), message.file and tostring(message.file)
  local line = (LABELS[message.level] or "") .. printable(text, M.MAX_SHOWN)
  if file then
    local place = printable(file, M.MAX_SHOWN / 2)
    if message.line then
      place = place .. ":" .. tostring(message.line)
    end
    -- An exception and FPM's own messages name it in their text.
    local _, stop = find(line, place, 1, true)
    if not stop or find(line, "^%d", stop + 1) then
      line = line .. " in " .. place
    end
  end
  return line
end

--- A hook may change messages, and what it leaves must be some.
local function check(messages, result)
  if result ~= nil and type(result) ~= "boolean" and type(result) ~= "table" then
    error("expected true, false, a decision or nothing as its result, got " .. describe(result), 0)
  end
  for i = 1, #messages do
    if type(messages[i]) ~= "table" or type(messages[i].text) ~= "string" then
      error(("it changed messages[%d]: expected a table with a text, got %s"):format(i,
        type(messages[i]) == "table" and "its text as " .. describe(messages[i].text)
          or describe(messages[i])), 0)
    end
  end
end

--- All that happens to what an application wrote to STDERR. An error of the hook passes through.
---@param text string what came during one request
---@param docroot string|nil the site as the backend sees it
---@param root string|nil the site as this machine sees it
---@param hook (fun(req: table, messages: Message[]): boolean|table|nil, any, any, any)|nil the
--- script's on_stderr, wrapped by moongate.decision.complete
---@param req table
---@return string[] lines for the log, none where the hook returned true
---@return integer count of messages, swallowed or not
---@return table<string, integer> levels how many there are of each level, before the hook saw them
---@return table|nil decision of the hook
---@return any ... what completes the decision
function M.handle(text, docroot, root, hook, req)
  local messages = M.map(M.parse(text), docroot, root)
  local levels = {}
  for i = 1, #messages do
    local level = messages[i].level
    levels[level] = (levels[level] or 0) + 1
  end
  local result, a, b, c
  if #messages > 0 and hook then
    result, a, b, c = hook(req, messages)
    check(messages, result)
  end
  if result == true then
    return {}, #messages, levels
  end
  local lines = {}
  for i = 1, #messages do
    lines[i] = M.line(messages[i])
  end
  return lines, #messages, levels, result or nil, a, b, c
end

return M
