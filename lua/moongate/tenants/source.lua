-- moongate.tenants.source owns files of tenants: what the three forms say, record for record.
-- Called by moongate.tenants, at load and again when the file has changed.
--
--     tenants.lua    return { ["acme.example"] = { root = "/srv/acme", backend = "php82" } }
--     tenants.json   { "acme.example": { "root": "/srv/acme", "backend": "php82" } }
--     tenants.csv    host,root,backend,ini.memory_limit
--                    acme.example www.acme.example,/srv/acme,php82,256M

local csv = require("moongate.base.csv")
local describe = require("moongate.base.describe")
local json = require("moongate.base.json")
local record = require("moongate.tenants.record")

local M = {}

local CHUNK = 200 -- records between two pauses

--- A counter that pauses after each chunk, so that requests do not wait long for a large file.
local function pacer(pause)
  local count = 0
  return function()
    count = count + 1
    if count % CHUNK == 0 then
      pause()
    end
  end
end

--- Every reader calls `add(hosts, record, line)` for each tenant; what that returns is the problem
--- that ends the reading. It returns the problem and its line, where it knows one.

--- A table in Lua: plain values. Nothing is there that could be called.
local function read_lua(text, add, pause)
  if text:byte() == 27 then
    return "this is compiled Lua"
  end
  local chunk, problem = loadstring(text, "=")
  if not chunk then
    local line, rest = problem:match("^:(%d+): (.*)$")
    return rest or problem, tonumber(line)
  end
  local ok, value = pcall(setfenv(chunk, {}))
  if not ok then
    return tostring(value)
  elseif type(value) ~= "table" then
    return ("expected `return { [\"host\"] = { ... } }`, got %s"):format(describe(value))
  end
  local step = pacer(pause)
  for host, item in pairs(value) do
    step()
    problem = type(host) ~= "string" and "expected hosts as keys, got " .. describe(host)
      or add(host, item)
    if problem then
      return problem
    end
  end
  return nil
end

local function read_json(text, add, pause)
  local step, problem = pacer(pause), nil
  local broken = json.each(text, function(host, item)
    step()
    problem = add(host, item)
    return problem == nil
  end)
  return problem or broken
end

--- Puts a cell into a record: "ini.memory_limit" is a key of a table.
local function set(into, column, text)
  local group, key = column:match("^(%a+)%.(.+)$")
  if group then
    into[group] = into[group] or {}
    into[group][key] = text
  elseif record.NUMBERS[column] then
    into[column] = tonumber(text) or text
  elseif text == "true" or text == "false" then
    into[column] = text == "true"
  elseif column:match("_timeout$") or column == "body_limit" or column == "rate" then
    into[column] = tonumber(text) or text
  else
    into[column] = text
  end
end

local function read_csv(text, add, pause)
  local next_row, step = csv.rows(text), pacer(pause)
  local columns, line, problem = next_row()
  local host_at
  for i, column in ipairs(columns or {}) do
    column = column:match("^%s*(.-)%s*$")
    columns[i] = column
    host_at = column == "host" and i or host_at
  end
  if not host_at then
    return problem or "expected names of columns in the first line, one of them `host`", line
  end
  local row
  row, line, problem = next_row()
  while row do
    step()
    local item = {}
    for i, cell in ipairs(row) do
      if not columns[i] then
        return "more fields than columns", line
      elseif i ~= host_at and cell ~= "" then
        set(item, columns[i], cell)
      end
    end
    problem = add(row[host_at] or "", item, line)
    if problem then
      return problem, line
    end
    row, line, problem = next_row()
  end
  return problem, line
end

local READERS = { lua = read_lua, json = read_json, csv = read_csv }

--- Which form a file has, by its name.
---@param path string
---@return string|nil
function M.form(path)
  local form = path:match("%.(%l+)$")
  return READERS[form] and form or nil
end

--- Reads a file.
---@param path string with one of the three extensions
---@param add fun(hosts: string, record: any, line: integer|nil): string|nil problem
---@param pause fun() called now and then
---@return string|nil problem begins with FILE: or FILE:LINE:
function M.read(path, add, pause)
  local file, reason = io.open(path, "rb")
  local text
  if file then
    text, reason = file:read("*a")
    file:close()
  end
  if not text then
    reason = (reason or "cannot be read"):gsub("^.-: ", "", 1)
    return ("%s: %s"):format(path, reason)
  end
  local problem, line = READERS[M.form(path)](text, add, pause)
  if not problem then
    return nil
  end
  return line and ("%s:%d: %s"):format(path, line, problem) or ("%s: %s"):format(path, problem)
end

return M
