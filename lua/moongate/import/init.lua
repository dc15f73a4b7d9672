-- moongate.import owns the way from a web server's configuration to the text of a route. Called by
-- moongate.cli.import.

local files = require("moongate.import.files")
local writer = require("moongate.import.writer")

local M = {}

--- What can be imported: a function of paths and files that makes a model (see writer).
M.KINDS = {
  apache = require("moongate.import.apache").model,
  nginx = require("moongate.import.nginx").model,
}

--- Makes a route.
---@param kind string of KINDS
---@param paths string[] from the root on
---@param fs table read(path, size) -> text|nil, problem; list(folder) -> names|nil
---@return string|nil route nil where the configuration can't be read
---@return string summary, or what is wrong, with FILE:LINE
function M.run(kind, paths, fs)
  local opened = files.new(fs)
  local ok, model = pcall(M.KINDS[kind], paths, opened)
  if not ok then
    if type(model) == "table" and model.import then
      return nil, model.import
    end
    error(model, 0)
  end
  model.files = opened.names
  return writer.route(model), writer.summary(model)
end

return M
