-- webhook: calls of another service (GitHub, Stripe and their like) reach the application only
-- where the signature of their body is right, and go to one of two applications by what they carry.
--
--     body='{"action":"push"}' secret='a secret of this example'
--     sign=$(printf %s "$body" | openssl dgst -sha256 -hmac "$secret" -r | cut -d' ' -f1)
--     curl -d "$body" -H "X-Hub-Signature-256: sha256=$sign" http://127.0.0.1:8080/hook

local hash = require("moongate.hash")
local json = require("moongate.json")
local php = require("moongate.php")

local address = os.getenv("MOONGATE_PHP") or "unix:/run/php/php8.2-fpm.sock"
local SECRET = os.getenv("HOOK_SECRET") or "a secret of this example"

local site = php.site {
  root = "public", front = "/hook.php",
  backend = function(req) return req.ctx.target end,
  params = function(req) return { HOOK_TARGET = req.ctx.target } end,
}

--- A refusal in words.
local function refuse(status, text)
  return { status = status, headers = { ["Content-Type"] = "text/plain" }, body = text .. "\n" }
end

return {
  listen = "127.0.0.1:8080",
  backends = { events = address, builds = address }, -- the example makes do with one application

  on_request = function(req)
    if req.path ~= "/hook" or req.method ~= "POST" then
      return { status = 404 }
    end
    local body, problem = req:body() -- waits; the application gets the same bytes afterwards
    if not body then
      return refuse(413, problem)
    end
    local expected = "sha256=" .. hash.hmac("sha256", SECRET, body)
    if not hash.equal(req.headers["X-Hub-Signature-256"] or "", expected) then
      return refuse(403, "the signature is wrong")
    end
    local event = json.decode(body)
    local is_build = type(event) == "table" and event.action == "push"
    req.ctx.target = is_build and "builds" or "events"
    return site(req)
  end,
}
