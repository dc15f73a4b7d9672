-- moongate.cache owns purges of kept responses by scripts, over all workers (core/script/cache.c).
-- Called by routes; `moongate purge` and the header X-Cache-Purge do the same from outside.

local describe = require("moongate.base.describe")
local sorted_keys = require("moongate.base.keys").sorted
local suggest = require("moongate.base.suggest")

local _, core = pcall(require, "moongate.core") -- specs of other modules have none

local M = {}

local KINDS = { key = true, prefix = true, tag = true, all = true }
local TEXT_MOST, LIST_MOST = 4096, 100

local function check_text(kind, text)
  if type(text) ~= "string" or text == "" or #text > TEXT_MOST then
    error(("cache.purge: %s: expected a text of 1 to %d bytes, or a list of them, got %s"):format(
      kind, TEXT_MOST, describe(text)), 3)
  end
end

--- Removes kept responses.
---@param what table `key`, `prefix` or `tag` with a text or a list of texts, or `all = true`
---@return integer count how many there were
function M.purge(what)
  if type(what) ~= "table" then
    error(('cache.purge: expected a table such as { tag = "post-12" }, got %s'):format(
      describe(what)), 2)
  end
  local keys = sorted_keys(what)
  local kind = keys[1]
  if #keys ~= 1 or not KINDS[kind] then
    local unknown = #keys == 1 and suggest.hint(kind, KINDS) or ""
    error("cache.purge: expected one of key, prefix, tag and all" .. unknown, 2)
  elseif kind == "all" then
    if what.all ~= true then
      error(("cache.purge: all: expected true, got %s"):format(describe(what.all)), 2)
    end
    return core.cache_purge("all", "")
  end
  local list = type(what[kind]) == "table" and what[kind] or { what[kind] }
  if #list > LIST_MOST then
    error(("cache.purge: %s: more than %d"):format(kind, LIST_MOST), 2)
  end
  for i = 1, #list do
    check_text(kind, list[i])
  end
  return core.cache_purge(kind, list)
end

return M
