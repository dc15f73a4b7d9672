-- moongate.cli.rows owns tables on the terminal. Called by the commands that print one.

local M = {}

--- Prints rows with their columns below each other; nothing where there are only heads.
---@param rows string[][] the heads first
---@param texts integer how many columns, from the left, are texts; the others are numbers
function M.print(rows, texts)
  local widths = {}
  if #rows < 2 then
    return
  end
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do
      widths[i] = math.max(widths[i] or 0, #cell)
    end
  end
  for _, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      local blanks = (" "):rep(widths[i] - #cell)
      cells[i] = i <= texts and cell .. blanks or blanks .. cell
    end
    io.stdout:write((table.concat(cells, "  "):gsub(" +$", "")), "\n")
  end
end

return M
