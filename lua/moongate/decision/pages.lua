-- moongate.decision.pages owns the pages that a site has for errors: which of them stands for what
-- went wrong with a request, in its application or while a file of it was sent. Noted by
-- moongate.php.site when it runs a script or sends a file; asked by load, which puts the question
-- behind the route's own on_error.

local M = {}

-- The key in a request's ctx. No script can have it.
local NOTE = {}

---@class moongate.decision.pages.Note
---@field errors table<integer, string|table> from status to a path below root, or a decision
---@field root string
---@field within string|string[]|nil

-- The kind of an error that is a refusal of the server's own: a method or a range that a file does
-- not take, a file that is gone. Only the pages are for these, no on_error of the route's.
M.REFUSED = "refused"

--- A site runs a script for a request, or sends a file.
---@param req table
---@param note moongate.decision.pages.Note
function M.note(req, note)
  req.ctx[NOTE] = note
end

--- What is answered in place of the standard page.
---@param req table
---@param err table as on_error gets it
---@return table|nil decision
local function page_of(req, err)
  local note = req.ctx[NOTE]
  local page = note and note.errors[err.status]
  if type(page) == "string" then
    return { root = note.root, within = note.within, path = page }
  end
  return page
end

--- An on_error that asks the route's own first.
---@param own nil|fun(req: table, err: table): table|nil
---@return fun(req: table, err: table): table|nil
function M.behind(own)
  if not own then
    return page_of
  end
  return function(req, err)
    if err.kind ~= M.REFUSED then
      local d = own(req, err)
      if d ~= nil then
        return d
      end
    end
    return page_of(req, err)
  end
end

return M
