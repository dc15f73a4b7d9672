-- moongate.route.control owns the setting `control`: where commands come in, and the tokens that
-- those who connect there must have. Called by settings, and for tokens by cli/remote; what a token
-- is for is said by moongate.worker.access.

local addr = require("moongate.base.addr")
local walk = require("moongate.route.walk")

local M = {}

M.EXPECTED = addr.EXPECTED .. ", a table with such an 'address', or false"

-- Shorter ones could be guessed.
local SHORTEST, LONGEST = 16, 256

--- A checker of a token.
function M.token(value)
  local fits = type(value) == "string" and #value >= SHORTEST and #value <= LONGEST
    and not value:find("[^\33-\126]")
  if fits then
    return value
  end
  -- The message says nothing of what was given: it may be a token.
  return nil, nil, ("expected %d to %d visible characters of ASCII; `openssl rand -hex 32` makes "
    .. "some"):format(SHORTEST, LONGEST)
end

--- A checker of the path of a file with nothing but a token, and blanks around it.
function M.token_file(value)
  local fits = type(value) == "string" and value:match("^/") and not value:find("%c")
  return fits and value or nil,
    'the absolute path of a file such as "/etc/moongate/control.token"'
end

--- The token of a file.
---@param path string
---@return string|nil token
---@return string|nil problem
function M.read(path)
  local file, reason = io.open(path)
  if not file then
    return nil, reason
  end
  local text = file:read(2 * LONGEST)
  file:close()
  local token, _, problem = M.token(text and text:match("^%s*(.-)%s*$"))
  return token, problem and ("%s: %s"):format(path, problem)
end

M.SCHEMA = {
  token = { M.token }, token_file = { M.token_file },
  metrics_token = { M.token }, metrics_token_file = { M.token_file },
}

--- Reads the setting, and no file.
---@param source moongate.Source
---@param value any as the script gives it
---@return string|false|nil address nil where the command line's default counts
---@return table fields of the schema, as they are given
function M.normalize(source, value)
  if value == nil or value == false then
    return value, {}
  elseif type(value) == "string" then
    local address, problem = addr.parse(value, "listen")
    if not address then
      walk.reject(source, { "control" }, value, M.EXPECTED, problem)
    end
    return address, {}
  elseif type(value) ~= "table" then
    walk.reject(source, { "control" }, value, M.EXPECTED)
  end
  walk.check_keys(source, { "control" }, value, M.SCHEMA, {}, { address = true })
  local fields = walk.fields(source, { "control" }, value, M.SCHEMA)
  if value.address == nil then
    return nil, fields
  end
  local address, problem = addr.parse(value.address, "listen")
  if not address then
    walk.reject(source, { "control", "address" }, value.address, addr.EXPECTED, problem)
  end
  return address, fields
end

--- One token, which may be given by two keys.
local function either(source, fields, key)
  local path = fields[key .. "_file"]
  if fields[key] and path then
    walk.fail(source, { "control", key }, ("control: '%s' and '%s_file' are two tokens; say one of "
      .. "them"):format(key, key))
  elseif not path then
    return fields[key]
  end
  local token, problem = M.read(path)
  if not token then
    walk.fail(source, { "control", key .. "_file" }, ("control.%s_file: %s"):format(key, problem))
  end
  return token
end

--- The tokens, of which some may be in files.
---@param source moongate.Source
---@param fields table as `normalize` gives them
---@param given string|nil the token of operators that the command line gives
---@return table tokens { token, metrics_token }, each where there is one
function M.tokens(source, fields, given)
  local tokens = {
    token = given or either(source, fields, "token"),
    metrics_token = either(source, fields, "metrics_token"),
  }
  local path = { "control", fields.metrics_token and "metrics_token" or "metrics_token_file" }
  if tokens.metrics_token and not tokens.token then
    walk.fail(source, path, ("control: '%s' is for those who may read /metrics alone; without "
      .. "'token' or 'token_file' everybody may do everything"):format(path[2]))
  elseif tokens.metrics_token and tokens.metrics_token == tokens.token then
    walk.fail(source, path, ("control: '%s' is the token of operators: whoever reads /metrics "
      .. "could stop the instance"):format(path[2]))
  end
  return tokens
end

--- Why commands may not come in at an address.
---@param address string|false|nil
---@param tokens table as `tokens` gives them
---@return string|nil problem
function M.problem(address, tokens)
  if not address or tokens.token or addr.is_local(address) then
    return nil
  end
  return ("%s is no address of the loopback, so whoever reaches it could stop the instance: it "
    .. 'needs a token (control = { address = "%s", token_file = "/etc/moongate/control.token" }, '
    .. "or --token-file)"):format(address, address)
end

return M
