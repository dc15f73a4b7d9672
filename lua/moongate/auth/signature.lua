-- moongate.auth.signature owns texts that only who has the key can have made, and for how long they
-- count: values of cookies, and URLs. Called by moongate.auth.
--
-- What is signed begins with what it is for, so that one key may sign several things and none
-- stands for another.

local describe = require("moongate.base.describe")
local hash = require("moongate.hash")
local moongate = require("moongate")

local M = {}

local LEAST_BYTES = 16

M.KEY_EXPECTED = "a text of 16 bytes at least, or a list of them: the first one signs, all of them "
  .. "are believed"

--- What is wrong with `key`.
---@param key any
---@return string|nil problem
function M.key_problem(key)
  local list = type(key) == "table" and key or { key }
  for i = 1, math.max(1, #list) do
    if type(list[i]) ~= "string" then
      return ("key: expected %s, got %s"):format(M.KEY_EXPECTED, describe(list[i]))
    elseif #list[i] < LEAST_BYTES then -- its text is nobody's business
      return ("key: expected %s, got one of %d"):format(M.KEY_EXPECTED, #list[i])
    end
  end
  return nil
end

---@class moongate.auth.Signature
---@field private keys string[]
---@field private purpose string
local Signature = {}
Signature.__index = Signature

local function made(self, key, text, expires)
  return hash.hmac("sha256", key, ("%s\n%s\n%s"):format(self.purpose, expires, text), "base64url")
end

--- Signs a text.
---@param text string
---@param seconds number for how long it counts
---@return string expires seconds since 1970
---@return string signature
function Signature:sign(text, seconds)
  local expires = ("%.0f"):format(math.floor(moongate.now() + seconds))
  return expires, made(self, self.keys[1], text, expires)
end

--- Whether a signature is one of ours, and counts still.
---@param text string
---@param expires string
---@param signature string
---@return boolean
function Signature:fits(text, expires, signature)
  if not expires:match("^%d+$") or #expires > 15 then
    return false
  end
  local fits = false
  for _, key in ipairs(self.keys) do
    fits = hash.equal(made(self, key, text, expires), signature) or fits
  end
  return fits and tonumber(expires) > moongate.now()
end

---@param key string|string[]
---@param purpose string
---@return moongate.auth.Signature
function M.new(key, purpose)
  return setmetatable({
    keys = type(key) == "table" and key or { key }, purpose = purpose,
  }, Signature)
end

return M
