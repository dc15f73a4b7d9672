-- moongate.route.tls owns the setting `tls` of a listener: its certificates and its rules. It reads
-- no file; the master does (core/process/certificates.c). Called by schema and load.

local describe = require("moongate.base.describe")
local features = require("moongate.base.features")
local sorted_keys = require("moongate.base.keys").sorted
local suggest = require("moongate.base.suggest")
local units = require("moongate.base.units")

local M = {}

-- As core/tls/store.h has room for.
local PAIRS = 10000

-- What is kept of the answers of on_certificate, which all listeners share: a name has one answer,
-- whichever listener is asked for it. 100,000 pairs are 1.5 GB of each worker.
M.KEPT = { cache = 4096, ttl = 3600, none_ttl = 10, misses = 30 }
local CACHE, MISSES, NONE_TTL = 100000, 1000000, 24 * 3600

local VERSIONS = { ["1.2"] = true, ["1.3"] = true }

local function path(value)
  return type(value) == "string" and value:match("^/") and not value:find("%c") and #value < 1000
end

local function is_text(value)
  return type(value) == "string" and value ~= "" and #value < 1000 and not value:find("[%c%s]")
end

local READERS = {}

local function path_of(value)
  return path(value) and value or nil, 'an absolute path such as "/etc/ssl/site.pem"'
end
READERS.cert, READERS.key, READERS.folder, READERS.client_ca = path_of, path_of, path_of, path_of

function READERS.versions(value)
  local list, expected = value, '"1.2", "1.3" or both in a list'
  if type(value) == "string" then
    list = { value }
  elseif type(value) ~= "table" or #value == 0 then
    return nil, expected
  end
  for _, version in ipairs(list) do
    if not VERSIONS[version] then
      return nil, expected, ("TLS %s can't be used: %s"):format(tostring(version),
        "there are 1.2 and 1.3, and older versions are broken (RFC 8996)")
    end
  end
  return list
end

function READERS.ciphers(value)
  if type(value) == "table" and #value > 0 then
    for _, name in ipairs(value) do
      if not is_text(name) then
        return nil, "names of ciphers as OpenSSL has them"
      end
    end
    value = table.concat(value, ":")
  end
  return is_text(value) and value or nil,
    'names of ciphers as OpenSSL has them, such as "ECDHE-RSA-AES128-GCM-SHA256"'
end

function READERS.verify(value)
  return (value == "optional" or value == "required") and value or nil,
    '"optional" or "required"'
end

--- A reader of whole numbers.
local function count(most)
  return function(value)
    return type(value) == "number" and value % 1 == 0 and value >= 1 and value <= most and value
      or nil, ("a whole number from 1 to %d"):format(most)
  end
end
READERS.cache, READERS.misses = count(CACHE), count(MISSES)

function READERS.ttl(value)
  local seconds = units.duration(value)
  return seconds and seconds >= 1 and seconds or nil, units.DURATION .. ", of a second at least"
end

function READERS.none_ttl(value)
  local seconds = units.duration(value)
  return seconds and seconds >= 1 and seconds <= NONE_TTL and seconds or nil,
    units.DURATION .. ", from a second to a day"
end

function READERS.ktls(value)
  if type(value) == "boolean" then
    return value
  end
  return nil, "true or false"
end

--- Reads the named keys of a table.
---@return table|nil normalized, string|nil problem
local function fields(value, known, others)
  local normalized = {}
  for _, key in ipairs(sorted_keys(value)) do
    if known[key] then
      local normal, expected, problem = READERS[key](value[key])
      if normal == nil then
        return nil, ("%s: %s"):format(key, problem
          or ("expected %s, got %s"):format(expected, describe(value[key])))
      end
      normalized[key] = normal
    elseif not (others and type(key) == "number") then
      return nil, ("unknown key '%s'%s"):format(tostring(key), suggest.hint(key, known))
    end
  end
  return normalized
end

local function pair(value)
  if type(value) ~= "table" then
    return nil, "expected { cert = PATH, key = PATH }, got " .. describe(value)
  end
  local normalized, problem = fields(value, { cert = true, key = true })
  if normalized and not (normalized.cert and normalized.key) then
    problem = normalized.cert and "'key' is missing: the file with the private key"
      or "'cert' is missing: the file with the certificate and those of its issuers"
    normalized = nil
  end
  return normalized, problem
end

--- Rules that concern more than one key.
local function conflict(tls)
  if #tls.pairs > PAIRS then
    return ("%d certificates, there may be %d"):format(#tls.pairs, PAIRS)
  elseif tls.verify and not tls.client_ca then
    return "'verify' needs 'client_ca': the authorities whose certificates clients may have"
  elseif tls.client_ca and not tls.verify then
    return "'client_ca' needs verify = \"optional\" or \"required\""
  end
end

--- The setting: a pair, a list of pairs, or a folder, and rules beside them. None of them is for
--- routes with the hook on_certificate.
---@param value any
---@return table|nil normalized pairs, folder, versions, ciphers, client_ca, verify, ktls,
--- and of M.KEPT what is said
---@return string|nil expected, string|nil problem
function M.check(value)
  if type(value) ~= "table" then
    return nil, '{ cert = PATH, key = PATH }, a list of them, or { folder = PATH }'
  elseif not features.has("tls") then
    return nil, nil, features.problem("tls")
  end
  local known = { folder = true, versions = true, ciphers = true, client_ca = true, verify = true,
    ktls = true }
  for key in pairs(M.KEPT) do
    known[key] = true
  end
  local list = {}
  if value.cert ~= nil or value.key ~= nil then
    list[1] = { cert = value.cert, key = value.key }
    known.cert, known.key = true, true
  end
  local normalized, problem = fields(value, known, true)
  for _, item in ipairs(value) do
    list[#list + 1] = item
  end
  if normalized then
    normalized.pairs, normalized.cert, normalized.key = {}, nil, nil
  end
  for i = 1, normalized and #list or 0 do
    local one, wrong = pair(list[i])
    if not one then
      return nil, nil, (#list > 1 and "[%d]: " or ""):format(i) .. wrong
    end
    normalized.pairs[i] = one
  end
  problem = problem or conflict(normalized)
  if problem then
    return nil, nil, problem
  end
  return normalized
end

--- Notes whether the route has the hook on_certificate, which has further certificates, and that
--- the kernel's TLS is TCP's alone.
---@param tls table normalized
---@param has_hook boolean
---@param address string the listener's
---@return string|nil problem
function M.complete(tls, has_hook, address)
  tls.hook = has_hook or nil
  if address:match("^unix:") then
    if tls.ktls then
      return "'ktls' is for TCP: the kernel has no TLS on unix sockets"
    end
    tls.ktls = false
  end
  if #tls.pairs == 0 and not tls.folder and not has_hook then
    return "'cert' and 'key' are missing, or 'folder', or the route's hook on_certificate"
  end
  for _, key in ipairs(sorted_keys(M.KEPT)) do
    if tls[key] and not has_hook then
      return ("'%s' is about the route's hook on_certificate, which it does not have"):format(key)
    end
  end
end

--- Takes what a listener says of on_certificate's answers into what holds for all of them.
---@param kept table of M.KEPT what other listeners have said
---@param tls table normalized
---@return string|nil problem where another one has said something else
function M.keep(kept, tls)
  for _, key in ipairs(sorted_keys(M.KEPT)) do
    if tls[key] and kept[key] and tls[key] ~= kept[key] then
      return ("%s: another listener has %g, this one %g; they share what is kept, so say it once, "
        .. "or the same"):format(key, kept[key], tls[key])
    end
    kept[key] = kept[key] or tls[key]
  end
end

--- Adds the lines for the master about the TLS of that number.
---@param add fun(...: string)
---@param number integer
---@param tls table normalized
---@param http2 boolean ALPN offers HTTP/2
function M.report(add, number, tls, http2)
  if http2 then
    add("tls", number, "http2", "h2", "")
  end
  if tls.versions then
    add("tls", number, "versions", table.concat(tls.versions, " "), "")
  end
  for _, key in ipairs({ "ciphers", "verify", "client_ca" }) do
    if tls[key] then
      add("tls", number, key, tls[key], "")
    end
  end
  if tls.ktls ~= false then
    add("tls", number, "ktls", tls.ktls and "asked" or "offered", "")
  end
  for _, one in ipairs(tls.pairs) do
    add("tls", number, "pair", one.cert, one.key)
  end
  if tls.folder then
    add("tls", number, "folder", tls.folder, "")
  end
  if tls.hook then
    add("tls", number, "hook", "on_certificate", "")
  end
end

return M
