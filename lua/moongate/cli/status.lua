-- moongate.cli.status owns `moongate status`: what the backends of a running instance do. Called by
-- moongate.cli.

local json = require("moongate.json")
local remote = require("moongate.cli.remote")

local M = {
  usage = "status [OPTIONS]", summary = "show the backends of a running instance",
  options = { remote.CONTROL_OPTION, { name = "--json", help = "as JSON" } },
  min = 0, max = 0,
}

local HEADS = {
  "BACKEND", "STATE", "ACTIVE", "IDLE", "MAX", "QUEUED", "REQUESTS", "FAILS", "LATENCY",
}
local TEXTS = 2 -- the columns that are no numbers

--- "0.31 ms", "1500 ms": three digits that count.
local function milliseconds(seconds)
  local ms = seconds * 1000
  return (ms < 1000 and "%.3g ms" or "%.0f ms"):format(ms)
end

local function count(number)
  return ("%.0f"):format(number or 0)
end

local function backend_row(backend)
  local totals = backend.totals
  return {
    backend.name, backend.held and "held" or "", count(totals.active), count(totals.idle), "",
    backend.queued > 0 and ("%.0f/%.0f"):format(backend.queued, backend.max_queue) or "0",
    count(totals.requests), count(totals.fails), "",
  }
end

local function server_row(server)
  local state = server.draining and "draining" or server.up and "up" or "down"
  local known = server.latency and server.latency > 0
  return {
    "  " .. server.address, state .. (server.backup and ", backup" or ""), count(server.active),
    count(server.idle), server.max_conns > 0 and count(server.max_conns) or "", "",
    count(server.requests), count(server.fails),
    known and milliseconds(server.latency) or "",
  }
end

--- Rows with their columns below each other.
local function print_rows(rows)
  local widths = {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do
      widths[i] = math.max(widths[i] or 0, #cell)
    end
  end
  for _, row in ipairs(rows) do
    local cells = {}
    for i, cell in ipairs(row) do
      local blanks = (" "):rep(widths[i] - #cell)
      cells[i] = i <= TEXTS and cell .. blanks or blanks .. cell
    end
    io.stdout:write((table.concat(cells, "  "):gsub(" +$", "")), "\n")
  end
end

---@param args table
---@return integer status, string|nil message
function M.main(args)
  local status, problem, value, address = remote.get(args, "/status")
  if not value then
    return status, problem
  elseif args.json then
    io.stdout:write(json.encode(value), "\n")
    return 0
  end
  io.stdout:write(("moongate %s at %s\n"):format(value.version, address))
  local rows = { HEADS }
  for _, backend in ipairs(value.backends) do
    rows[#rows + 1] = backend_row(backend)
    for _, server in ipairs(backend.servers) do
      rows[#rows + 1] = server_row(server)
    end
  end
  if #rows > 1 then
    print_rows(rows)
  end
  return 0
end

return M
