-- moongate.types.hash: what an editor is told of `require "moongate.hash"`. Called by
-- moongate.types.
-- luacheck: no max line length (an annotation can't be broken)

return [==[
--- How a digest is written: hexadecimal digits by default, bytes, base64, or base64 for URLs.
---@alias moongate.DigestForm "hex"|"raw"|"base64"|"base64url"

--- The digests that HMAC can be made of.
---@alias moongate.Digest "md5"|"sha1"|"sha256"|"sha384"|"sha512"

local hash = {}

--- The MD5 of a text.
---@param text string
---@param form? moongate.DigestForm
---@return string
function hash.md5(text, form) end

--- The SHA-1 of a text.
---@param text string
---@param form? moongate.DigestForm
---@return string
function hash.sha1(text, form) end

--- The SHA-256 of a text.
---@param text string
---@param form? moongate.DigestForm
---@return string
function hash.sha256(text, form) end

--- The SHA-384 of a text.
---@param text string
---@param form? moongate.DigestForm
---@return string
function hash.sha384(text, form) end

--- The SHA-512 of a text.
---@param text string
---@param form? moongate.DigestForm
---@return string
function hash.sha512(text, form) end

--- A keyed digest (RFC 2104).
---@param algorithm moongate.Digest
---@param key string
---@param text string
---@param form? moongate.DigestForm
---@return string
function hash.hmac(algorithm, key, text, form) end

--- The checksum of gzip and PNG.
---@param text string
---@return integer
function hash.crc32(text) end

--- Base64 with padding.
---@param bytes string
---@return string
function hash.base64(bytes) end

--- nil where the text is not base64.
---@param text string
---@return string?
function hash.unbase64(text) end

--- Base64 for URLs and cookies, without padding.
---@param bytes string
---@return string
function hash.base64url(bytes) end

--- nil where the text is not base64 for URLs.
---@param text string
---@return string?
function hash.unbase64url(text) end

--- Hexadecimal digits.
---@param bytes string
---@return string
function hash.hex(bytes) end

--- nil where the text is no such digits.
---@param text string
---@return string?
function hash.unhex(text) end

--- Whether two texts are the same; the time says nothing of where they differ.
---@param a string
---@param b string
---@return boolean
function hash.equal(a, b) end

return hash
]==]
