-- The certificates of the tenants: NAME/cert.pem and NAME/key.pem below a folder that the workers'
-- user can read.

local M = { folder = os.getenv("CERTIFICATES") or "/var/lib/certificates" }

--- The certificate of a name. Moongate has checked the name: it can't lead out of the folder.
---@param name string in lower case
---@return moongate.Certificate|nil nil: there is no such tenant
function M.pair(name)
  local base = ("%s/%s/"):format(M.folder, name)
  local file = io.open(base .. "cert.pem")
  if not file then
    return nil
  end
  file:close()
  return { cert = base .. "cert.pem", key = base .. "key.pem" }
end

return M
