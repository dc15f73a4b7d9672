-- moongate.base.features owns what this build of the program can do: `make MINIMAL=1` leaves some
-- of it out. Called by route, decision and cli.

local M = {}

local has_core, core = pcall(require, "moongate.core")

-- In order of `moongate version`. `can` names what a route has instead.
local FEATURES = {
  { name = "tls", word = "TLS", library = "libssl", can = "let a server in front speak TLS" },
  { name = "http2", word = "HTTP/2", library = "libnghttp2", can = "leave it out: clients speak "
    .. "HTTP/1.1 then" },
  { name = "br", word = "brotli", library = "libbrotlienc" },
  { name = "zstd", word = "zstd", library = "libzstd" },
}

local built = has_core and core.features -- nil in specs: all of it

--- Is it there?
---@param name "tls"|"http2"|"br"|"zstd"|"gzip"
---@return boolean
function M.has(name)
  return name == "gzip" or not built or built[name] == true
end

--- What to say of a setting that needs it.
---@param name string
---@return string|nil message nil where it is there
function M.problem(name)
  if M.has(name) then
    return nil
  end
  for _, feature in ipairs(FEATURES) do
    if feature.name == name then
      return ("this build of moongate has no %s, as with `make MINIMAL=1`: take one that was built "
        .. "with %s, or %s"):format(feature.word, feature.library, feature.can)
    end
  end
end

--- The words for what is there, and for what is not.
---@return string[] there, string[] missing
function M.words()
  local there, missing = { "gzip" }, {}
  for _, feature in ipairs(FEATURES) do
    local list = M.has(feature.name) and there or missing
    list[#list + 1] = feature.word
  end
  return there, missing
end

return M
