-- Specs of moongate.cli.port: who holds a port, from what /proc says.

local port = require("moongate.cli.port")

local HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
local LINE = "   %d: 0100007F:%04X 00000000:0000 %s 00000000:00000000 00:00000000 00000000"
  .. "  1000        0 %d 1 0000000000000000 100 0 0 10 0\n"

--- A machine with a process 12 (nginx) that has the socket 777, and one that tells nothing.
local function machine(files)
  local core = {
    listdir = function(path)
      return ({
        ["/proc"] = { "11", "12", "net", "self" },
        ["/proc/12/fd"] = { "0", "6" },
      })[path]
    end,
    readlink = function(path)
      return ({ ["/proc/12/fd/0"] = "/dev/null", ["/proc/12/fd/6"] = "socket:[777]" })[path]
    end,
  }
  return core, function(path)
    return files[path] or ""
  end
end

describe("the owner of a port", function()
  it("is the process with the socket that listens on it", function()
    local core, reader = machine({
      ["/proc/net/tcp"] = HEAD .. LINE:format(0, 8080, "01", 555)
        .. LINE:format(1, 8080, "0A", 777),
      ["/proc/12/comm"] = "nginx\n",
    })
    assert.equal("nginx (pid 12)", port.owner(8080, core, reader))
    assert.is_nil(port.owner(8081, core, reader))
  end)

  it("is found among sockets of IPv6, and has no name where that can't be read", function()
    local core, reader = machine({
      ["/proc/net/tcp6"] = (LINE:format(0, 80, "0A", 777):gsub("0100007F", ("0"):rep(32))),
    })
    assert.equal("a process (pid 12)", port.owner(80, core, reader))
  end)

  it("is not known where no process shows the socket", function()
    local core, reader = machine({ ["/proc/net/tcp"] = LINE:format(0, 80, "0A", 778) })
    assert.is_nil(port.owner(80, core, reader))
  end)
end)

describe("the message of a start that failed", function()
  it("stays as it is where it names no port, or the owner is not known", function()
    local core = { listdir = function() end }
    for _, message in ipairs({
      "can't listen on 127.0.0.1:1: it is in use; 'ss -lnp' shows the process that holds it",
      "can't listen on unix:/run/x.sock: it is in use; 'ss -lnp' shows the process that holds it",
      "can't listen on 127.0.0.1:80: Permission denied",
    }) do
      assert.equal(message, port.explain(message, core))
    end
  end)
end)
