-- busted's helper (tools/test names it): LuaJIT's os.tmpname knows no other folder than /tmp; this
-- one makes its files in the folder of the run, which goes with the run however that ends.

local folder = assert(os.getenv("TMPDIR"), "TMPDIR: run it by tools/test")
local count = 0

rawset(os, "tmpname", function()
  count = count + 1
  local name = ("%s/lua_%d"):format(folder, count)
  assert(io.open(name, "w")):close()
  return name
end)
