-- moongate.cli.printable owns texts of clients on a terminal. Called by status, requests, tail and
-- trace.

local M = {}

--- A text in which control bytes, and all beyond ASCII, are shown as \xNN.
---@param text string
---@param most integer|nil bytes to which it is cut (100)
---@return string
function M.printable(text, most)
  most = most or 100
  text = text:gsub("[%z\1-\31\127-\255]", function(c) return ("\\x%02x"):format(c:byte()) end)
  return #text > most and text:sub(1, most - 3) .. "..." or text
end

--- A text of any length without control bytes, which a terminal would obey.
---@param text string
---@return string
function M.tame(text)
  return (text:gsub("[%z\1-\31\127]", "?"):gsub("\194[\128-\159]", "?")) -- C1 controls
end

return M
