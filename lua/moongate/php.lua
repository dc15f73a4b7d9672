-- moongate.php owns the usual shape of a PHP site: scripts to PHP, everything else from disk, a
-- front controller for the rest. Called by routes: a site is a function from request to decision.
-- How it decides is in moongate.php.site.

local filesystem = require("moongate.base.fs")
local site_of = require("moongate.php.site")
local site_options = require("moongate.php.options")
local suggest = require("moongate.base.suggest")
local trace = require("moongate.decision.trace")

local M = {}

--- A PHP site: a function that decides about requests.
---@param options table root, backend, front, ...: see docs/route.md
---@param fs table|nil what looks at the disk, default moongate.base.fs
---@param time nil|fun(): number a clock in whole seconds, default os.time
---@return fun(req: table): table decide
--- Raises an error at the caller's line where an option is wrong.
function M.site(options, fs, time)
  local problem = site_options.problem(options)
  if problem then
    error("php.site: " .. problem, 2)
  end
  fs = fs or filesystem
  local own, place = site_options.own(options, debug.getinfo(2, "S").source, fs), trace.place(2)
  local site = site_of.new(own, place, fs, time or os.time)
  return site_of.handler(site, "php.site", "php.site", place, options.always)
end

return suggest.strict(M, "moongate.php")
