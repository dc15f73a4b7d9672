-- moongate.cli.printable owns texts of clients on a terminal. Called by status, requests and tail.

local M = {}

local MOST = 100 -- bytes

--- A text in which control bytes, and all beyond ASCII, are shown as \xNN, cut to 100 bytes.
---@param text string
---@return string
function M.printable(text)
  text = text:gsub("[%z\1-\31\127-\255]", function(c) return ("\\x%02x"):format(c:byte()) end)
  return #text > MOST and text:sub(1, MOST - 3) .. "..." or text
end

--- A text of any length without control bytes, which a terminal would obey.
---@param text string
---@return string
function M.tame(text)
  return (text:gsub("[%z\1-\31\127]", "?"):gsub("\194[\128-\159]", "?")) -- C1 controls
end

return M
