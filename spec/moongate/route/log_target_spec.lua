-- Specs of moongate.route.log_target: what a target means, and what is said of a wrong one.

local log_target = require("moongate.route.log_target")

describe("log_target.line", function()
  for given, expected in pairs({
    ["syslog"] = "syslog 23 6 rfc3164 0 moongate unix:/dev/log",
    ["syslog:tag=web"] = "syslog 23 6 rfc3164 0 web unix:/dev/log",
    ["syslog:server=unix:/dev/log,facility=local3,tag=web,severity=notice"] =
      "syslog 19 5 rfc3164 0 web unix:/dev/log",
    ["syslog:server=unix:/run/a b"] = "syslog 23 6 rfc3164 0 moongate unix:/run/a b",
    ["syslog:server=192.0.2.1"] = "syslog 23 6 rfc3164 1 moongate 192.0.2.1:514",
    ["syslog:server=[::1]:5514,nohostname"] = "syslog 23 6 rfc3164 0 moongate [::1]:5514",
    ["syslog:server=logs.internal,format=rfc5424"] =
      "syslog 23 6 rfc5424 1 moongate logs.internal:514",
    ["journal"] = "journal unix:/run/systemd/journal/socket",
    ["journal:/tmp/journal"] = "journal unix:/tmp/journal",
    ["/var/log/access.log"] = "/var/log/access.log",
    ["stdout"] = "stdout",
  }) do
    it("reads " .. given, function()
      assert.equal(expected, log_target.line(given))
    end)
  end
end)

describe("log_target.parse", function()
  for given, expected in pairs({
    ["syslog:"] = "there is no parameter ''",
    ["syslog:tag"] = "the parameter 'tag' is empty",
    ["syslog:sever=unix:/dev/log"] = "there is no parameter 'sever'; did you mean 'server'?",
    ["syslog:server=/dev/log"] = "the socket /dev/log is written 'server=unix:/dev/log'",
    ["syslog:server=unix:dev/log"] = 'a unix socket needs an absolute path ("unix:/run/app.sock")',
    ["syslog:server=a b"] = "'server=a b:514' is no address; expected 'unix:/dev/log', "
      .. "'192.0.2.1:514' or 'logs.internal:514'",
    ["syslog:server=a:0"] = "a port is a number from 1 to 65535",
    ["syslog:facility=local9"] = "there is no facility 'local9'; did you mean 'local0'?",
    ["syslog:severity=warning"] = "there is no severity 'warning'; did you mean 'warn'?",
    ["syslog:format=5424"] = "there is no format '5424'; did you mean 'rfc5424'?",
    ["syslog:tag="] = "the parameter 'tag' is empty",
    ["syslog:tag=a b"] = "a tag has 1 to 32 letters, digits and '_', '.', '-', got 'a b'",
    ["syslog:tag=" .. ("x"):rep(33)] = "a tag has 1 to 32 letters",
    ["syslog:tag=a,tag=b"] = "the parameter 'tag' is there twice",
    ["syslog:nohostname,nohostname"] = "the parameter 'nohostname' is there twice",
    ["journal:journal"] = 'a unix socket needs an absolute path ("unix:/run/app.sock")',
  }) do
    it("refuses " .. given:sub(1, 60), function()
      local target, problem = log_target.parse(given)
      assert.is_nil(target)
      assert.equal(expected, problem:sub(1, #expected))
    end)
  end

  it("leaves other targets to others", function()
    for _, given in ipairs({ "stdout", "/var/log/x", "syslogd", "journald", "Syslog", "" }) do
      local target, problem = log_target.parse(given)
      assert.is_nil(target)
      assert.is_nil(problem)
    end
  end)
end)
