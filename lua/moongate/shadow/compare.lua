-- moongate.shadow.compare owns what is different between two answers to the same request: the one
-- that a visitor got, and the one that another backend gave to its copy. Called by moongate.shadow.
-- Pure: no state, no I/O. What takes STDERR apart comes in as an object.

local M = {}

--- The kinds of differences, worst first. `failed`: no answer at all. `error`: an error status in
--- place of another one. `slower` is found by moongate.shadow.report. `gone`: what STDERR does not
--- say any more.
M.KINDS = {
  "failed", "error", "fatal", "parse", "status", "header", "body", "slower", "warning", "notice",
  "deprecated", "info", "gone",
}

local STDERR_MOST = 4096 -- bytes that are compared: as many as the core keeps of a visitor's

---@class moongate.shadow.Answer
---@field status integer
---@field headers table<string, string>
---@field stderr string|nil nil: not all of it is known
---@field length number|nil of the body; nil: not known
---@field crc32 number|nil of the body

---@class moongate.shadow.Finding
---@field kind string one of KINDS
---@field text string what makes it the same finding the next time
---@field detail string|nil how it was this time

--- A table of headers by their names in lower case.
local function by_name(headers)
  local all = {}
  for name, value in pairs(headers) do
    all[name:lower()] = value
  end
  return all
end

--- The messages of STDERR: a list of their kinds and lines, and a set of what two backends have in
--- common of them. Folders are left out of that: each PHP may have its own.
---@return { kind: string, line: string, key: string }[] list
---@return table<string, boolean> known
local function said(messages, stderr)
  local list, known = {}, {}
  if #stderr >= STDERR_MOST then -- the last line may be cut
    stderr = stderr:sub(1, STDERR_MOST):match("^(.*)\n") or ""
  end
  for i, message in ipairs(messages.parse(stderr)) do
    local line = messages.line(message)
    local kind = message.level == "error" and "warning" or message.level
    local key = kind .. " " .. line:gsub("[%w._-]*/", "")
    list[i], known[key] = { kind = kind, line = line, key = key }, true
  end
  return list, known
end

local function add(findings, kind, text, detail)
  findings[#findings + 1] = { kind = kind, text = text, detail = detail }
end

local function compare_headers(findings, names, old, new, again)
  local before, after = by_name(old.headers), by_name(new.headers)
  local repeated = again and by_name(again.headers)
  for _, name in ipairs(names) do
    local key = name:lower()
    local is, was = after[key], before[key]
    if was ~= is and not (repeated and repeated[key] ~= is) then
      add(findings, "header", name, ("%s -> %s"):format(was or "none", is or "none"))
    end
  end
end

local function compare_stderr(findings, messages, old, new)
  local before, had = said(messages, old.stderr)
  local after, has = said(messages, new.stderr)
  for _, message in ipairs(after) do
    if not had[message.key] then
      add(findings, message.kind, message.line)
      had[message.key] = true -- once
    end
  end
  for _, message in ipairs(before) do
    if not has[message.key] then
      add(findings, "gone", message.line)
      has[message.key] = true
    end
  end
end

--- Do both bodies have the same bytes? What is not known of one counts as the same.
local function same_body(a, b)
  return not a.length or not b.length or a.length == b.length and a.crc32 == b.crc32
end

--- Would it be worth asking once more, since a page may differ from itself?
---@param old moongate.shadow.Answer
---@param new moongate.shadow.Answer
---@param names string[] headers that are compared
---@return boolean
function M.may_vary(old, new, names)
  local findings = {}
  compare_headers(findings, names, old, new)
  return #findings > 0 or not same_body(old, new)
end

--- What is different.
---@param old moongate.shadow.Answer the visitor's
---@param new moongate.shadow.Answer
---@param again moongate.shadow.Answer|nil what the same backend said when it was asked once more:
--- what differs between these two says nothing
---@param names string[] headers that are compared
---@param messages table moongate.base.messages
---@return moongate.shadow.Finding[]
---@return boolean varies the body differs from itself, and was not compared
function M.findings(old, new, again, names, messages)
  local findings, varies = {}, again ~= nil and not same_body(new, again)
  if new.status ~= old.status then
    local worse = new.status >= 500 or new.status >= 400 and old.status < 400
    add(findings, worse and "error" or "status", ("%d -> %d"):format(old.status, new.status))
  end
  compare_headers(findings, names, old, new, again)
  if not varies and new.status == old.status and not same_body(old, new) then
    add(findings, "body", "other bytes", ("%d bytes -> %d bytes"):format(old.length, new.length))
  end
  if old.stderr then
    compare_stderr(findings, messages, old, new)
  end
  return findings, varies
end

return M
