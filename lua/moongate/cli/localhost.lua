-- moongate.cli.localhost owns the certificate for this machine's own names, with which
-- `serve --tls` and `--listen https://ADDR` serve: where it lies, and when it is made. Called by
-- cli.common.
--
-- It stays where it is, so that a browser which has been told to trust it asks once.

local core = require("moongate.core.commands")

local M = {}

--- The folder that has it.
---@return string|nil path
---@return string|nil problem
function M.folder()
  local state, home = os.getenv("XDG_STATE_HOME"), os.getenv("HOME")
  local base
  if state and state:match("^/") then
    base = state
  elseif home and home:match("^/") then
    base = home:match("^(.-)/*$") .. "/.local/state"
  else
    return nil, "a certificate for localhost needs a folder to lie in: HOME or XDG_STATE_HOME "
      .. "names it"
  end
  if base:find("%c") then
    return nil, "a certificate for localhost needs a folder to lie in: the path in HOME or "
      .. "XDG_STATE_HOME has a control character"
  end
  return base:match("^(.-)/*$") .. "/moongate"
end

--- Why it must be made; nil: the one that lies there serves. A file that this user can't read is no
--- reason to replace it.
---@return string|nil reason "missing" or what is wrong with it
---@return string|nil problem
local function reason_to_make(pair)
  for _, path in ipairs({ pair.cert, pair.key }) do
    local what, why = core.stat(path)
    if not what and why and why:find("[Pp]ermission") or what and not core.readable(path) then
      return nil, ("%s: the user '%s' may not read it; remove it, or serve as the user whose it is")
        :format(path, core.user_name())
    elseif not what then
      return "missing"
    end
  end
  return core.certificates(("tls\t1\tpair\t%s\t%s\n"):format(pair.cert, pair.key))[1]
end

--- Makes it. The key comes first: a certificate whose key is another one is made anew.
local function make(pair)
  local cert, key = core.localhost_certificate()
  if not cert then
    return key
  end
  local ok, problem = core.write_private(pair.key, key)
  if ok then
    ok, problem = core.write_private(pair.cert, cert)
  end
  return not ok and problem or nil
end

--- The certificate and its key, made where there is none that serves.
---@return table|nil pair cert and key, their paths; made: a sentence's part about that, or nil
---@return string|nil problem
function M.pair()
  local folder, problem = M.folder()
  if not folder then
    return nil, problem
  end
  local lock
  lock, problem = core.private_folder(folder)
  if not lock then
    return nil, ("a certificate for localhost can't be kept in %s: %s"):format(folder, problem)
  end
  local pair = { cert = folder .. "/localhost.crt", key = folder .. "/localhost.key" }
  local reason
  reason, problem = reason_to_make(pair)
  if reason then
    problem = make(pair)
    pair.made = reason == "missing" and "made now" or "made anew: " .. reason
  end
  core.close_descriptor(lock)
  if problem then
    return nil, "a certificate for localhost can't be had: " .. problem
  end
  return pair
end

--- What a developer wants to know about it.
---@param pair table
---@param address string where a listener has it
---@return string lines
function M.banner(pair, address)
  local port = address:match(":(%d+)$")
  return ("moongate: the certificate for localhost is %s%s\n"
    .. "moongate: a browser asks once whether to trust it; others are told: "
    .. "curl --cacert %s %s\n"):format(pair.cert, pair.made and " (" .. pair.made .. ")" or "",
    pair.cert, port and ("https://localhost:%s/"):format(port) or "https://localhost/")
end

return M
