-- manual.roff owns texts as man(7) wants them: what is special to roff is escaped, words between
-- backquotes are bold, indented lines keep their shape. Called by manual.commands_page and
-- manual.route_page.

local M = {}

--- The number of a character of UTF-8.
local function code_of(char)
  local lead = char:byte()
  local code = lead < 0xE0 and lead % 0x20 or lead < 0xF0 and lead % 0x10 or lead % 8
  for i = 2, #char do
    code = code * 64 + char:byte(i) % 64
  end
  return code
end

--- A text of which roff takes nothing for its own. A hyphen stays one that a shell understands.
---@param text string
---@return string
function M.escape(text)
  text = text:gsub("\\", "\\e"):gsub("%-", "\\-"):gsub("'", "\\(aq"):gsub("%^", "\\(ha")
    :gsub("~", "\\(ti")
  text = text:gsub("[\194-\244][\128-\191]+", function(char)
    return ("\\[u%04X]"):format(code_of(char))
  end)
  return (text:gsub("^%.", "\\&."):gsub("\n%.", "\n\\&."))
end

--- Bold.
function M.bold(text)
  return "\\fB" .. M.escape(text) .. "\\fR"
end

--- Prose in one paragraph: what stands between backquotes is bold.
---@param text string
---@return string
function M.prose(text)
  local out, last = {}, 1
  for from, code, to in text:gmatch("()`([^`]+)`()") do
    out[#out + 1] = M.escape(text:sub(last, from - 1))
    out[#out + 1] = M.bold(code)
    last = to
  end
  out[#out + 1] = M.escape(text:sub(last))
  -- A line that begins with a dot is a request to roff, wherever it comes from.
  return (table.concat(out):gsub("\n%.", "\n\\&."))
end

--- Several paragraphs. Lines that begin with two blanks or more stand as they are.
---@param text string
---@return string
function M.paragraphs(text)
  local out, lines, literal = {}, {}, false
  local function finish()
    while lines[#lines] == "" do
      table.remove(lines)
    end
    if lines[1] then
      local joined = table.concat(lines, "\n")
      out[#out + 1] = literal and ".PP\n.nf\n" .. M.escape(joined) .. "\n.fi\n"
        or ".PP\n" .. M.prose(joined) .. "\n"
    end
    lines = {}
  end
  for line in (text:gsub("\n*$", "\n")):gmatch("(.-)\n") do
    local is_literal = line:find("^  ") ~= nil or literal and line == ""
    if line == "" and not literal or is_literal ~= literal then
      finish()
      literal = is_literal
    end
    if line ~= "" or literal then
      lines[#lines + 1] = line
    end
  end
  finish()
  return table.concat(out)
end

--- A word, or several, and what is said of it.
---@param term string already as roff has it
---@param text string
---@return string
function M.item(term, text)
  return (".TP\n%s\n%s"):format(term, text ~= "" and M.prose(text) .. "\n" or "")
end

--- The first line of a page.
---@param name string
---@param section integer
---@param about { version: string, date: string }
---@param title string of all pages of this section
---@return string
function M.head(name, section, about, title)
  return (".\\\" Made by tools/manual/write.lua.\n.TH %s %d %s \"moongate %s\" \"%s\"\n"):format(
    M.escape(name), section, about.date, M.escape(about.version), title)
end

return M
