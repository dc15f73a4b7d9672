-- moongate.balance.hash: the same key goes to the same server, as long as that is there. When a
-- server leaves, only its keys move, to all others alike; when it is back, they move back. The key
-- is the decision's `hash_key`, or the path. Called by settings; ip_hash and sticky use its parts.
-- core/backend/pick.c has the same numbers.
--
-- Rendezvous hashing: each server gets a number from the key and its own address, by its weight,
-- and the greatest wins. There is no table of buckets to keep.

local bit = require("bit")

local M = {}

local band, bxor, lshift, rshift, tobit = bit.band, bit.bxor, bit.lshift, bit.rshift, bit.tobit
local byte, log = string.byte, math.log

--- The lower 32 bits of a product: a double alone would lose them.
local function multiply(a, b)
  return tobit(a * band(b, 0xffff) + lshift(a * rshift(b, 16), 16))
end

--- Makes every bit depend on every other (the end of MurmurHash3).
local function mix(h)
  h = multiply(bxor(h, rshift(h, 16)), 0x85ebca6b)
  h = multiply(bxor(h, rshift(h, 13)), 0xc2b2ae35)
  return bxor(h, rshift(h, 16))
end

--- A hash of a text (Jenkins' one at a time), the same in every worker and release.
---@param text string
---@return integer hash 32 bits, with a sign
function M.of(text)
  local h = 0
  for i = 1, #text do
    h = tobit(h + byte(text, i))
    h = tobit(h + lshift(h, 10))
    h = bxor(h, rshift(h, 6))
  end
  return mix(h)
end

--- Picks the server of a key.
---@return fun(key: string, servers: table[]): table pick
function M.picker()
  local hashes = setmetatable({}, { __mode = "k" }) -- of the servers' addresses

  return function(key, servers)
    local of_key, best, most = M.of(key), nil, nil
    for i = 1, #servers do
      local server = servers[i]
      local own = hashes[server]
      if not own then
        own = M.of(server.address)
        hashes[server] = own
      end
      -- Above 0, below 1. The weights come out right with -weight / ln(u) (Schindelhauer, 2005).
      local u = (mix(bxor(of_key, own)) % 2 ^ 32 + 0.5) * 2 ^ -32
      local score = -server.weight / log(u)
      if best == nil or score > most then
        best, most = server, score
      end
    end
    return best
  end
end

--- A policy is made once for each backend and worker.
---@return fun(req: table, servers: table[]): table pick
function M.new()
  local pick = M.picker()

  return function(req, servers)
    return pick(req.hash_key or req.path, servers)
  end
end

return M
