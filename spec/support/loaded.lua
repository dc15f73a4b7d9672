-- The table of loaded modules: a spec forgets modules under test, puts its own in the place of
-- those that they require, and restores all of them at its end.

local M = {}

local saved = {}

--- Forgets modules, so that the next require loads them anew.
---@param names string[]
function M.forget(names)
  for _, name in ipairs(names) do
    saved[name], package.loaded[name] = package.loaded[name] or false, nil
  end
end

--- Puts the forgotten modules back.
function M.restore()
  for name, module in pairs(saved) do
    package.loaded[name] = module or nil
  end
  saved = {}
end

return M
