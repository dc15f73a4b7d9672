-- moongate.cli.purge owns `moongate purge`: the removal of kept responses. Called by cli.commands.

local remote = require("moongate.cli.remote")

local M = {
  usage = "purge [ROUTE.lua] --key KEY | --prefix TEXT | --tag TAG | --all [OPTIONS]",
  summary = "remove responses from the cache",
  help = [[
A key is `scheme://host/path?query` as it was sent, unless the route says another one; `--prefix`
removes all whose keys begin so, as `--prefix https://shop.example/`.
]] .. remote.ROUTE_HELP,
  options = {
    { name = "--key", value = "KEY", help = "the response of that key, with its variants" },
    { name = "--prefix", value = "TEXT", help = "those whose keys begin so" },
    { name = "--tag", value = "TAG", help = "those with that tag" },
    { name = "--all", help = "all of them" },
    remote.CONTROL_OPTION,
  },
  min = 0, max = 0, route_at = 1,
}

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local query = {}
  for _, kind in ipairs({ "key", "prefix", "tag", "all" }) do
    if args[kind] then
      query[#query + 1] = kind == "all" and "everything" or kind
      query[#query + 1] = args[kind] == true and "true" or args[kind]
    end
  end
  if #query ~= 2 then
    return 2, "purge: one of --key, --prefix, --tag and --all is needed"
  end
  return remote.post(args, {
    path = "/purge", query = query, waits = false,
    done = function(said)
      return ("%.0f response%s removed"):format(said.purged, said.purged == 1 and "" or "s")
    end,
  })
end

return M
