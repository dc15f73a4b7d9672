-- The blocks of code in a page of docs/, for tests that run what users copy.

local process = require("tests.support.process")

local pages = {}

--- A block of a page, by its language.
---@param page string path below the top of the project
---@param language string
---@param which? integer|string which one of the page, or a text that it has; the first by default
---@return string
function pages.block(page, language, which)
  local number = 0
  for text in process.read_file(page):gmatch("```" .. language .. "\n(.-)\n```") do
    number = number + 1
    local found = type(which) == "string" and text:find(which, 1, true) or number == (which or 1)
    if found then
      return text .. "\n"
    end
  end
  error("no such block: " .. language)
end

--- A text with other words in the place of the page's; each must be there.
---@param text string
---@param changes { [1]: string, [2]: string }[] what stands there, and what is to
---@return string
function pages.replaced(text, changes)
  for _, change in ipairs(changes) do
    local from, to = text:find(change[1], 1, true)
    assert(from, change[1] .. " is not in the page")
    while from do
      text = text:sub(1, from - 1) .. change[2] .. text:sub(to + 1)
      from, to = text:find(change[1], from + #change[2], true)
    end
  end
  return text
end

return pages
