-- moongate.cli.certificate owns what `explain` says of the certificate that a client of https gets:
-- which one it is, who has it, and why there is none. Called by cli.explain.
--
-- The listener's own certificates are read and chosen by core/, as the server does it; the hook
-- on_certificate is called for a name that none of them has.

local core = require("moongate.core.commands")
local simulate = require("moongate.testing.simulate")
local tls = require("moongate.route.tls")

local M = {}

---@class moongate.explain.Certificate
---@field name string|nil that the client asks for; nil: none, the host is an address
---@field listener string address or name
---@field from "listener"|"on_certificate"|"default"|"none"
---@field cert string|nil the path, or "PEM given by the script"
---@field key string|nil likewise, of on_certificate
---@field names string[]|nil the certificate's
---@field expires string|nil when it ends
---@field ttl number|nil for how many seconds on_certificate's answer is kept
---@field source string|nil FILE:LINE of on_certificate, where it was asked
---@field left_out string[]|nil pairs of the folder that are not used, and why
---@field note string|nil what some clients may not like
---@field problem string|nil why clients don't get it, or would not take it
---@field advice string|nil what to do

local WAITS = "no server runs here yet"

--- The lines of the listener in the report for the master.
local function report_of(number, settings)
  local lines = {}
  tls.report(function(...)
    lines[#lines + 1] = table.concat({ ... }, "\t")
  end, number, settings)
  return table.concat(lines, "\n") .. "\n"
end

--- Adds what is known of a pair.
---@param out moongate.explain.Certificate
---@param facts table<string, string> see core/tls/facts.h
local function add_facts(out, facts)
  out.names = {}
  for name in (facts.names or ""):gmatch("%S+") do
    table.insert(out.names, name)
  end
  out.expires = facts.expires
  if facts.certain then
    out.problem = facts.problem
  else
    out.note = facts.problem
  end
end

local function shown(text)
  return text:sub(1, 1) == "/" and text or "PEM given by the script"
end

--- What to do about files that can't be used.
---@param problem string
---@param given boolean|nil on_certificate has named them
local function advice_on_files(problem, given)
  if given and problem:find("Permission denied", 1, true) then
    return "let the workers' user read the file"
  elseif problem:find("Permission denied", 1, true) then
    return "the server's master reads the files as root: run `moongate explain` as root"
  elseif problem:find("does not fit", 1, true) then
    return "the certificate and its key must come from the same renewal: put both of it there"
  end
  return given and "mend what the hook returns" or "mend the file"
end

--- What a client gets where on_certificate gives nothing.
---@param why string what the hook has done
local function fall_back(out, facts, why)
  if facts.from == "none" then
    out.from = "none"
    out.problem = "the handshake is refused with the alert unrecognized_name, since the listener "
      .. "has no certificate of its own: " .. why
    return
  end
  out.from, out.cert = "default", facts.source
  add_facts(out, facts)
  out.problem = "clients get the listener's first certificate, which does not have the name, and "
    .. "refuse it: " .. why
end

--- Asks on_certificate as the server does.
---@param out moongate.explain.Certificate
---@param facts table<string, string> of the listener's own certificates
local function ask(out, settings, hello, facts)
  local source = settings.hook_source.on_certificate
  out.source = source
  local ok, found, problem = core.limited("hook", settings.script_timeout, source,
    simulate.certificate, settings, hello.name)
  if not ok then
    found, problem = nil, tostring(found)
  end
  local unusable = found and found.facts.unusable
  if problem then
    problem = problem:gsub("\nstack traceback:.*$", "")
    if problem:find(WAITS, 1, true) then
      out.from = "on_certificate"
      out.note = "not followed: the hook waits, say for Redis, which only a server does"
      out.advice = ("ask one that runs: openssl s_client -connect %s -servername %s"):format(
        hello.listener.address:gsub("^0%.0%.0%.0:", "127.0.0.1:"), hello.name)
      return
    end
    fall_back(out, facts, problem)
    out.advice = "mend on_certificate, and test it by route:certificate(name) in a spec"
  elseif unusable then
    fall_back(out, facts, "what on_certificate has returned can't be used: " .. unusable)
    out.advice = advice_on_files(unusable, true)
  elseif not found then
    fall_back(out, facts, "on_certificate has no certificate for the name")
    out.advice = "give the hook one for it; or the listener, by `cert` and `key` or `folder`"
  else
    out.from, out.cert, out.key = "on_certificate", shown(found.cert), shown(found.key)
    out.ttl = found.ttl
    add_facts(out, found.facts)
    out.advice = out.problem and "give the hook a certificate that clients take" or nil
  end
end

--- What the listener's own certificates come to.
---@param facts table<string, string>
local function take_own(out, facts, hello)
  out.from = facts.from == "name" and "listener" or facts.from
  out.cert = facts.source
  add_facts(out, facts)
  if facts.from == "none" then
    out.problem = "the client sends no name, and the listener has no certificate of its own: the "
      .. "handshake is refused with the alert missing_extension"
    out.advice = "give the listener `cert` and `key`, or use a URL with a name"
  elseif facts.from == "default" and hello.name then
    out.problem = "no certificate has the name: clients get the listener's first one, and refuse it"
    out.advice = "give the listener a certificate with this name, or the route on_certificate"
  elseif out.problem then
    out.advice = "put a certificate there that clients take: with its issuers, and not expired"
  end
end

--- The certificate that a client gets who sends this request.
---@param settings table normalized
---@param what moongate.testing.simulate.Request
---@return moongate.explain.Certificate|nil nil: the request does not come to a listener with TLS
function M.of(settings, what)
  local hello = simulate.hello(settings, what)
  if not hello then
    return nil
  end
  local out = { name = hello.name, listener = hello.listener.name or hello.listener.address }
  local facts = core.certificate_of(report_of(hello.number, hello.listener.tls), hello.number,
    hello.name or "")
  if facts.left_out then
    out.left_out = {}
    for line in facts.left_out:gmatch("[^\n]+") do
      table.insert(out.left_out, line)
    end
  end
  if facts.wrong then
    out.from, out.problem = "none", "the listener can't serve: " .. facts.wrong
    out.advice = advice_on_files(facts.wrong)
  elseif facts.from ~= "name" and hello.name and settings.hooks.on_certificate
    and simulate.is_host_name(hello.name) then
    ask(out, settings, hello, facts)
  else
    take_own(out, facts, hello)
  end
  return out
end

local ORDER = {
  "name", "listener", "from", "cert", "key", "names", "expires", "ttl", "left_out", "note",
  "problem", "advice",
}

--- The same as lines of text.
---@param out moongate.explain.Certificate
---@return string
function M.text(out)
  local parts = { "certificate\n" }
  for _, key in ipairs(ORDER) do
    local value = out[key]
    if type(value) == "table" then
      value = value[1] and table.concat(value, key == "names" and " " or "\n            ")
    elseif key == "ttl" and value then
      value = ("%g s"):format(value)
    elseif key == "from" and value == "on_certificate" then
      value = ("on_certificate (%s)"):format(out.source)
    end
    if value then
      parts[#parts + 1] = ("  %-8s  %s\n"):format(key, value)
    end
  end
  return table.concat(parts)
end

return M
