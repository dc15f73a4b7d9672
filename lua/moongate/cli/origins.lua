-- moongate.cli.origins owns the question "where does this param come from?". Called by cli.explain,
-- with what it knows of the request; the params themselves are made by core/.

local M = {}

-- What the request itself says, and what is always the same.
local FIXED = {
  GATEWAY_INTERFACE = "always", SERVER_SOFTWARE = "always", REDIRECT_STATUS = "always, for PHP",
  REQUEST_METHOD = "the request", REQUEST_URI = "the request", QUERY_STRING = "the request",
  DOCUMENT_URI = "the request's path", SERVER_PROTOCOL = "the request",
  CONTENT_LENGTH = "the body's size", CONTENT_TYPE = "header Content-Type",
  SERVER_NAME = "header Host, else the listener", SERVER_PORT = "the listener, or a trusted proxy",
  SERVER_ADDR = "the listener", REQUEST_SCHEME = "the listener, or a trusted proxy",
  HTTPS = "https", REMOTE_ADDR = "the client, or a trusted proxy",
  REMOTE_PORT = "the client, or a trusted proxy", REMOTE_USER = "header Authorization",
  AUTH_TYPE = "header Authorization", REQUEST_BODY_FILE = "request_file of the decision",
}

local function header_name(param)
  local words = param:match("^HTTP_(.+)$"):lower():gsub("_", "-")
  return (words:gsub("^%l", string.upper):gsub("%-%l", string.upper))
end

--- Which of a decision, its backend and a default a folder is of.
local function folder_of(key, decision, backend)
  if decision[key] then
    return key .. " of the decision"
  elseif backend[key] then
    return ("%s of backend '%s'"):format(key, backend.name)
  end
  return nil
end

local function docroot_of(decision, backend)
  return folder_of("docroot", decision, backend) or folder_of("root", decision, backend)
    or "the default"
end

--- Params that come of the split of the path.
local function mapped(name, decision, backend)
  if name == "DOCUMENT_ROOT" then
    return docroot_of(decision, backend)
  elseif name == "SCRIPT_FILENAME" then
    return decision.script_filename and "script_filename of the decision"
      or docroot_of(decision, backend) .. ", and the script"
  elseif name == "SCRIPT_NAME" or name == "PHP_SELF" then
    return decision.script and "script of the decision" or "the request's path, up to the script"
  elseif name == "PATH_INFO" or name == "PATH_TRANSLATED" then
    return decision.path_info and "path_info of the decision" or "the path behind the script"
  end
  return nil
end

---@class moongate.cli.origins.Known
---@field decision table
---@field source string FILE:LINE of what decided
---@field backend table normalized
---@field before table<string, string> the params before on_params
---@field on_params string|nil FILE:LINE of the hook

--- Where a param comes from, in words.
---@param name string
---@param value string
---@param known moongate.cli.origins.Known
---@return string
function M.of(name, value, known)
  local decision, backend = known.decision, known.backend
  if known.on_params and known.before[name] ~= value then
    return "on_params at " .. known.on_params
  elseif name == "PHP_VALUE" then
    return decision.ini and "ini of the decision and its backend"
      or ("ini of backend '%s'"):format(backend.name)
  elseif decision.params and decision.params[name] ~= nil then
    return "params of the decision at " .. known.source
  elseif name:match("^HTTP_") then
    return "header " .. header_name(name)
  end
  return mapped(name, decision, backend) or FIXED[name] or "the default"
end

return M
