-- moongate.base.csv owns tables of texts as spreadsheets and databases write them (RFC 4180):
-- fields between commas, quoted where they hold commas, quotes or line ends. Called by tenants.

local M = {}

local QUOTE = 34

--- One field.
---@param text string
---@param at integer where it begins
---@return string|nil field nil where a quoted one does not end
---@return integer next what follows it
local function read_field(text, at)
  if text:byte(at) ~= QUOTE then
    local field, next_at = text:match("^([^,\r\n]*)()", at)
    return field, next_at
  end
  local parts = {}
  at = at + 1
  while true do
    local part, stop = text:match('^([^"]*)"()', at)
    if not part then
      return nil, at
    end
    parts[#parts + 1] = part
    if text:sub(stop, stop) ~= '"' then
      return table.concat(parts), stop
    end
    parts[#parts + 1], at = '"', stop + 1
  end
end

--- Goes through the rows of a table. Lines that are empty or begin with "#" are left out.
---@param text string
---@return fun(): string[]|nil, integer|nil, string|nil next the fields of a row and the number of
--- its line; nil at the end; nil, the line and what is wrong where the text is no such table
function M.rows(text)
  local at, line = text:sub(1, 3) == "\239\187\191" and 4 or 1, 0
  return function()
    local skipped = true
    while skipped do
      local next_at = text:match("^[ \t]*\r?\n()", at) or text:match("^#[^\n]*\n?()", at)
      skipped = next_at ~= nil
      line, at = skipped and line + 1 or line, next_at or at
    end
    if at > #text then
      return nil
    end
    local row, began = {}, line + 1
    while true do
      local field, next_at = read_field(text, at)
      if not field then
        return nil, began, "a quote that does not end"
      end
      row[#row + 1] = field
      if text:byte(at) == QUOTE then
        local _, ends = field:gsub("\n", "")
        line = line + ends
      end
      local mark = text:sub(next_at, next_at)
      if mark == "," then
        at = next_at + 1
      else
        at = text:match("^\r?\n()", next_at)
          or text:find("^\r?$", next_at) and #text + 1 or nil
        if not at then
          return nil, line + 1, "expected a comma or the end of the line behind a quote"
        end
        line = line + 1
        return row, began
      end
    end
  end
end

return M
