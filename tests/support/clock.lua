-- Another time of day for one process, by libfaketime.

local process = require("tests.support.process")

local clock = {}

--- The library that is preloaded (LD_PRELOAD); its own variables say which time it is.
---@return string path
function clock.library()
  local found = process.run({ argv = { "sh", "-c", "ls /usr/lib/*/faketime/libfaketime.so.1" } })
  return assert(found.stdout:match("[^\n]+"), "no libfaketime: run tools/install test")
end

return clock
