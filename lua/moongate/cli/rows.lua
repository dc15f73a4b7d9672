-- moongate.cli.rows owns tables on the terminal. Called by the commands that print one.

local M = {}

--- A row with its cells as wide as their columns.
local function line_of(row, widths, texts)
  local cells = {}
  for i, cell in ipairs(row) do
    local blanks = (" "):rep(widths[i] - #cell)
    cells[i] = i <= texts and cell .. blanks or blanks .. cell
  end
  return (table.concat(cells, "  "):gsub(" +$", ""))
end

--- Prints rows with their columns below each other; nothing where there are only heads.
---@param rows (string[]|string)[] the heads first; a string is a line of its own between the rows
---@param texts integer how many columns, from the left, are texts; the others are numbers
function M.print(rows, texts)
  local widths = {}
  if #rows < 2 then
    return
  end
  for _, row in ipairs(rows) do
    for i, cell in ipairs(type(row) == "table" and row or {}) do
      widths[i] = math.max(widths[i] or 0, #cell)
    end
  end
  for _, row in ipairs(rows) do
    io.stdout:write(type(row) == "table" and line_of(row, widths, texts) or row, "\n")
  end
end

return M
