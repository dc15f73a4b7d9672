-- Writes what `make install` puts beside the binary for its users: manual pages and completions for
-- shells. Both are made of what `moongate help` prints and of the definition files of `moongate
-- types`, so that there is one text of each command, option and setting.
--
--   luajit tools/manual/write.lua man|route|bash|zsh|fish VERSION
--
-- Run in the folder of the project; what is made goes to standard output. The date of a page is
-- that of SOURCE_DATE_EPOCH, as for other tools that make packages.

package.path = "./tools/?.lua;./lua/?.lua;./lua/?/init.lua;" .. package.path

-- Commands are described without being run: nothing is asked of the functions in C.
local function no_core()
  return {}
end
package.preload["moongate.core"], package.preload["moongate.core.commands"] = no_core, no_core

local WRITERS = {
  man = "manual.commands_page", route = "manual.route_page", bash = "manual.bash",
  zsh = "manual.zsh", fish = "manual.fish",
}

local kind, version = arg[1], arg[2]
if not (WRITERS[kind] and version) then
  io.stderr:write("usage: luajit tools/manual/write.lua man|route|bash|zsh|fish VERSION\n")
  os.exit(2)
end
local seconds = tonumber(os.getenv("SOURCE_DATE_EPOCH")) or os.time()
io.stdout:write(require(WRITERS[kind]).text({
  version = version, date = os.date("!%Y-%m-%d", seconds),
  commands = require("moongate.cli.commands").list(),
}))
