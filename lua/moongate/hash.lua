-- moongate.hash owns digests and their texts: md5, sha1, sha256, sha384, sha512, HMAC, CRC-32,
-- base64, hex, and a comparison whose time says nothing of where two texts differ. OpenSSL and zlib
-- do the work (core/script/digest.c). Called by routes, random and auth, and by ngx.

local core = require("moongate.core")
local describe = require("moongate.base.describe")
local suggest = require("moongate.base.suggest")

local M = {}

local MOST = 64 * 1048576 -- bytes of a text, as in core/script/digest.c
local ALGORITHMS = { md5 = true, sha1 = true, sha256 = true, sha384 = true, sha512 = true }

-- Both directions of hexadecimal digits, by byte and by pair of digits.
local DIGITS, BYTES = {}, {}
for i = 0, 255 do
  local digits = ("%02x"):format(i)
  DIGITS[string.char(i)] = digits
  for _, written in ipairs({ digits, digits:upper(), digits:sub(1, 1):upper() .. digits:sub(2),
    digits:sub(1, 1) .. digits:sub(2):upper() }) do
    BYTES[written] = string.char(i)
  end
end

--- The text that a function was given; whatever else is an error of its caller's.
local function text_of(who, value)
  if type(value) ~= "string" then
    error(("hash.%s: expected a text, got %s"):format(who, describe(value)), 3)
  elseif #value > MOST then
    error(("hash.%s: expected a text of at most 64 MB, got %d bytes"):format(who, #value), 3)
  end
  return value
end

--- Lower-case hexadecimal digits, two for each byte.
---@param bytes string
---@return string
function M.hex(bytes)
  return (text_of("hex", bytes):gsub(".", DIGITS))
end

--- Bytes from hexadecimal digits.
---@param text string
---@return string|nil bytes nil where the text is nothing of the kind
function M.unhex(text)
  if #text_of("unhex", text) % 2 == 1 or text:find("%X") then
    return nil
  end
  return (text:gsub("..", BYTES))
end

--- Base64 with padding (RFC 4648 §4).
---@param bytes string
---@return string
function M.base64(bytes)
  return core.base64(text_of("base64", bytes))
end

--- Bytes from base64, with its padding or without.
---@param text string
---@return string|nil bytes nil where the text is nothing of the kind
function M.unbase64(text)
  return core.unbase64(text_of("unbase64", text))
end

local function base64url(bytes)
  return (core.base64(bytes):gsub("=+$", ""):gsub("[+/]", { ["+"] = "-", ["/"] = "_" }))
end

--- Base64 for URLs, file names and cookies, without padding (RFC 4648 §5).
---@param bytes string
---@return string
function M.base64url(bytes)
  return base64url(text_of("base64url", bytes))
end

--- Bytes from base64 for URLs.
---@param text string
---@return string|nil bytes nil where the text is nothing of the kind
function M.unbase64url(text)
  if text_of("unbase64url", text):find("[+/=]") then
    return nil
  end
  return core.unbase64((text:gsub("[-_]", { ["-"] = "+", ["_"] = "/" })))
end

local FORMS = {
  hex = M.hex, base64 = M.base64, base64url = base64url,
  raw = function(bytes)
    return bytes
  end,
}

--- What writes a digest in a form.
local function form_of(who, form)
  local write = FORMS[form == nil and "hex" or form]
  if not write then
    error(('hash.%s: expected "hex", "raw", "base64" or "base64url" as form, got %s'):format(who,
      describe(form)), 3)
  end
  return write
end

for name in pairs(ALGORITHMS) do
  M[name] = function(text, form)
    local write = form_of(name, form)
    return (write(core.digest(name, text_of(name, text))))
  end
end

--- A keyed digest (RFC 2104).
---@param algorithm "md5"|"sha1"|"sha256"|"sha384"|"sha512"
---@param key string
---@param text string
---@param form "hex"|"raw"|"base64"|"base64url"|nil default "hex"
---@return string
function M.hmac(algorithm, key, text, form)
  if not ALGORITHMS[algorithm] then
    error(('hash.hmac: expected "md5", "sha1", "sha256", "sha384" or "sha512", got %s'):format(
      describe(algorithm)), 2)
  end
  local write = form_of("hmac", form)
  return (write(core.hmac(algorithm, text_of("hmac", key), text_of("hmac", text))))
end

--- The checksum of Ethernet, gzip and PNG. It is easy to make a text that has a given one.
---@param text string
---@return integer from 0 to 2^32 - 1
function M.crc32(text)
  return core.crc32(text_of("crc32", text))
end

--- Whether two texts are the same. How long it takes depends on their lengths alone, so that a
--- client can't find out a secret byte by byte.
---@param a string
---@param b string
---@return boolean
function M.equal(a, b)
  return core.equal(text_of("equal", a), text_of("equal", b))
end

return suggest.strict(M, "moongate.hash")
