-- support.program owns the program without its core: commands run against a fake moongate.core, and
-- what they print is caught. Called by the specs of moongate.cli.

local folder = require("support.folder")

local M = {}

--- A fake core. Fields may be replaced; `ran`, `asked`, `env` and `logged` hold what was called.
---@param fields table|nil
---@return table core
function M.core(fields)
  local core = {
    version = "1.2.3", asked = {}, env = {}, logged = {}, existing = {}, unwritable = {},
  }

  function core.run(opts, overrides)
    core.ran, core.overrides = opts, overrides
    return 0
  end
  function core.limited(kind, seconds, _, fn, ...)
    core.bound = { kind, seconds }
    return pcall(fn, ...)
  end
  function core.run_is_within() end
  function core.request()
    return nil, 400, "a fake makes no requests"
  end
  function core.become()
    return "nobody"
  end
  function core.getcwd()
    return "/home/ann"
  end
  function core.uid()
    return 1000
  end
  function core.cpus()
    return 2
  end
  function core.setenv(name, value)
    core.env[name] = value
  end
  function core.log(level, text)
    core.logged[#core.logged + 1] = level .. ": " .. text
  end
  function core.stat(path)
    if core.existing[path] then
      return core.existing[path]
    end
    if core.executable(path) then
      return "file"
    end
    return nil, "No such file or directory"
  end
  function core.probe(root, path)
    return core.existing[root .. path]
  end
  function core.readable(path)
    return core.existing[path] ~= nil or nil, "Permission denied"
  end
  function core.writable(path)
    return not core.unwritable[path] or nil, "Permission denied"
  end
  function core.realpath(path)
    path = path:sub(1, 1) == "/" and path or "/home/ann/" .. path
    if core.existing[path] then
      return path
    end
    return nil, "No such file or directory"
  end
  function core.look(address)
    return not (core.silent and core.silent[address]) or nil, core.silent and core.silent[address]
  end
  function core.executable(path)
    for _, program in pairs(core.programs or {}) do
      if program == path then
        return true
      end
    end
    return false
  end
  function core.fcgi(opts)
    core.asked[#core.asked + 1] = opts
    return core.answer, core.answer_error
  end

  for name, value in pairs(fields or {}) do
    core[name] = value
  end
  return core
end

--- Forgets all modules of the library, so that the next `require` sees this core.
---@param core table|nil
function M.install(core)
  for name in pairs(package.loaded) do
    if name:match("^moongate") then
      package.loaded[name] = nil
    end
  end
  package.loaded["moongate.core"], package.loaded["moongate.core.commands"] = core, core
end

--- Runs a command line.
---@param core table
---@param ... string arguments
---@return integer status, string stdout, string stderr
function M.run(core, ...)
  M.install(core)
  local caught = { stdout = {}, stderr = {} }
  local function stream(name)
    return {
      write = function(self, ...)
        for _, text in ipairs({ ... }) do
          table.insert(caught[name], tostring(text))
        end
        return self
      end,
      flush = function() end,
    }
  end
  local stdout, stderr = io.stdout, io.stderr
  io.stdout, io.stderr = stream("stdout"), stream("stderr") -- luacheck: ignore 122
  local ok, status = pcall(require("moongate.cli.commands").main, { ... })
  io.stdout, io.stderr = stdout, stderr -- luacheck: ignore 122
  M.install(nil)
  if not ok then
    error(status, 0)
  end
  return status, table.concat(caught.stdout), table.concat(caught.stderr)
end

--- A file in a folder of its own.
---@param text string
---@return string path, fun() remove
function M.script(text)
  local dir = folder.new()
  local path = dir .. "/route.lua"
  folder.write(path, text)
  return path, function()
    folder.remove(dir)
  end
end

--- Runs a command on a script, which is there as long as the command runs.
---@param core table
---@param command string
---@param text string the script
---@param ... string arguments behind its path
---@return integer status, string stdout, string stderr, string path of the script
function M.run_script(core, command, text, ...)
  local path, remove = M.script(text)
  local ok, status, stdout, stderr = pcall(M.run, core, command, path, ...)
  remove()
  if not ok then
    error(status, 0)
  end
  return status, stdout, stderr, path
end

return M
