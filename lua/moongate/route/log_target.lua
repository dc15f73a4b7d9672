-- moongate.route.log_target owns where a log may go: "stdout" or "stderr", files, syslog servers
-- and systemd's journal. Called by route.values for the check, by route.load and route.warnings for
-- what a target needs, and by route.load for the line that the master reads (core/base/datagram.h).

local addr = require("moongate.base.addr")
local suggest = require("moongate.base.suggest")

local M = {}

M.JOURNAL = "/run/systemd/journal/socket"

local SYSLOG_PORT = 514
local TAG_MOST = 32

-- RFC 5424 §6.2.1, with the names of syslog(3).
local FACILITIES = {
  kern = 0, user = 1, mail = 2, daemon = 3, auth = 4, syslog = 5, lpr = 6, news = 7, uucp = 8,
  cron = 9, authpriv = 10, ftp = 11, ["local0"] = 16, ["local1"] = 17, ["local2"] = 18,
  ["local3"] = 19, ["local4"] = 20, ["local5"] = 21, ["local6"] = 22, ["local7"] = 23,
}
local SEVERITIES = {
  emerg = 0, alert = 1, crit = 2, error = 3, warn = 4, notice = 5, info = 6, debug = 7,
}
-- Other names of some of them.
local MEANT = {
  err = "error", warning = "warn", panic = "emerg", critical = "crit", ["3164"] = "rfc3164",
  ["5424"] = "rfc5424",
}
local FORMATS = { rfc3164 = true, rfc5424 = true }

local function one_of(value, known, what)
  if known[value] then
    return value
  end
  local hint = known[MEANT[value]] and ("; did you mean '%s'?"):format(MEANT[value])
    or suggest.hint(value, known)
  return nil, ("there is no %s '%s'%s"):format(what, suggest.name(value), hint)
end

-- What stands for the address of a syslog server.
local function server_of(text)
  local path = text:match("^unix:(.*)$")
  if not path and text:sub(1, 1) == "/" then
    return nil, ("the socket %s is written 'server=unix:%s'"):format(suggest.name(text),
      suggest.name(text))
  elseif not path and not text:find(":%d+$") then
    text = ("%s:%d"):format(text, SYSLOG_PORT)
  end
  local address, problem = addr.parse(text, "connect")
  if not address then
    return nil, problem or ("'server=%s' is no address; expected 'unix:/dev/log', "
      .. "'192.0.2.1:514' or 'logs.internal:514'"):format(suggest.name(text))
  elseif address:find(" ", 1, true) and not path then
    return nil, "an address has no blanks"
  end
  return address
end

local OPTIONS = {
  server = server_of,
  facility = function(text)
    return one_of(text, FACILITIES, "facility")
  end,
  severity = function(text)
    return one_of(text, SEVERITIES, "severity")
  end,
  format = function(text)
    return one_of(text, FORMATS, "format")
  end,
  tag = function(text)
    if #text <= TAG_MOST and text:find("^[%w_.-]+$") then
      return text
    end
    return nil, ("a tag has 1 to %d letters, digits and '_', '.', '-', got '%s'"):format(TAG_MOST,
      suggest.name(text))
  end,
}

local function option(target, word)
  local key, value = word:match("^(%w+)=?(.*)$")
  if word == "nohostname" then
    value = "1"
  elseif not OPTIONS[key] then
    local known = { nohostname = true }
    for name in pairs(OPTIONS) do
      known[name] = true
    end
    key = key or word
    return ("there is no parameter '%s'%s"):format(suggest.name(key), suggest.hint(key, known))
  elseif value == "" then
    return ("the parameter '%s' is empty"):format(key)
  end
  if target[key] then
    return ("the parameter '%s' is there twice"):format(key)
  end
  local problem
  target[key] = value
  if OPTIONS[key] then
    target[key], problem = OPTIONS[key](value)
  end
  return problem
end

local function parse_syslog(text)
  local target = { kind = "syslog" }
  for word in (text .. ","):gmatch("([^,]*),") do
    local problem = option(target, word)
    if problem then
      return nil, problem
    end
  end
  target.server = target.server or "unix:/dev/log"
  return target
end

--- What a target that is no file and no stream consists of.
---@param text string
---@return table|nil target with `kind` and `server`; nil where the text is another target
---@return string|nil problem what is wrong with it
function M.parse(text)
  local kind, rest = text:match("^(%l+):(.*)$")
  kind = kind or text
  if kind == "syslog" then
    if not rest then
      return parse_syslog("server=unix:/dev/log")
    end
    return parse_syslog(rest)
  elseif kind ~= "journal" then
    return nil
  end
  local server, problem = addr.parse("unix:" .. (rest or M.JOURNAL), "connect")
  if not server then
    return nil, problem
  end
  return { kind = "journal", server = server }
end

--- A checker of targets.
---@param log "access"|"error"
---@param word string the standard stream that it may go to
---@param folder fun(value: any): string|nil the checker of paths
---@return fun(value: any): string|nil, string|nil, string|nil
function M.checker(log, word, folder)
  local expected = ('"%s", an absolute path, "syslog", "syslog:server=ADDR,..." or "journal"')
    :format(word)
  return function(value)
    if type(value) ~= "string" or value == word then
      return value == word and value or nil, expected
    end
    local target, problem = M.parse(value)
    if target and target.severity and log == "error" then
      problem = "the severity of a line is its level; 'severity' is for log.access"
    end
    if problem then
      return nil, nil, problem
    end
    return target and value or folder(value), expected
  end
end

--- The target as core/base/datagram.c reads it.
---@param text string as it was checked
---@return string
function M.line(text)
  local target = M.parse(text)
  if not target then
    return text
  elseif target.kind == "journal" then
    return "journal " .. target.server
  end
  local is_local = target.server:find("^unix:") ~= nil
  return ("syslog %d %d %s %d %s %s"):format(FACILITIES[target.facility or "local7"],
    SEVERITIES[target.severity or "info"], target.format or "rfc3164",
    (is_local or target.nohostname) and 0 or 1, target.tag or "moongate", target.server)
end

return M
