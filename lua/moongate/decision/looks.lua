-- moongate.decision.looks owns the looks of a hook at the disk, and what sites say about their
-- choice, for those who want to know: `moongate explain`, and core/ for a request that
-- `moongate trace` waits for. Otherwise nothing of this runs.

local fs = require("moongate.base.fs")
local trace = require("moongate.decision.trace")

local M = {}

local probe, read_start -- those of fs, while somebody listens

--- What a look for a file found, in words.
local function finding(root, path, within, what, why)
  local whole = (root == "/" and "" or root) .. path
  if what or not why then
    return what or (fs.stat(whole) and "neither a file nor a folder") or "not there"
  end
  local folders = type(within) == "table" and table.concat(within, ", ") or within or root
  return ("refused: its real path %s is outside of %s"):format(
    tostring(fs.realpath(whole)), folders)
end

--- From now on each look, and each remark of a site, is told.
---@param add fun(text: string)
function M.begin(add)
  M.stop()
  local own_probe, own_read_start = fs.probe, fs.read_start
  probe, read_start, trace.step = own_probe, own_read_start, add
  fs.probe = function(root, path, within)
    local what, why = own_probe(root, path, within)
    add(("looked for %s%s: %s"):format(root == "/" and "" or root, path,
      finding(root, path, within, what, why)))
    return what, why
  end
  fs.read_start = function(root, path, within, size)
    local text = own_read_start(root, path, within, size)
    add(("looked for %s%s: %s"):format(root == "/" and "" or root, path, text and "file"
      or finding(root, path, within, nil)))
    return text
  end
end

function M.stop()
  if probe then
    fs.probe, fs.read_start, trace.step = probe, read_start, nil
    probe, read_start = nil, nil
  end
end

return M
