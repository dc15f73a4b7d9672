-- Specs of moongate.cli.fcgi.

local program = require("support.program")

describe("moongate fcgi", function()
  local core
  before_each(function()
    core = program.core()
    core.answer = { stdout = "", stderr = "", app_status = 0, protocol_status = 0 }
  end)

  --- The params that were sent, by name; none is there twice.
  local function sent()
    local params = {}
    for _, pair in ipairs(core.asked[1].params) do
      assert.is_nil(params[pair[1]])
      params[pair[1]] = pair[2]
    end
    return params
  end

  it("sends a request and prints the answer", function()
    core.answer = {
      stdout = "Status: 404\r\n\r\nno", stderr = "PHP message: x", app_status = 0,
      protocol_status = 0,
    }
    local status, stdout, stderr = program.run(core, "fcgi", "unix:/run/x.sock", "A=b=c",
      "REQUEST_METHOD=HEAD", "--script", "page.php", "--timeout", "5s")
    assert.equal(0, status)
    assert.equal("Status: 404\r\n\r\nno", stdout)
    assert.equal("PHP message: x\nmoongate: app status 0\n", stderr)
    local asked = core.asked[1]
    assert.equal("unix:/run/x.sock", asked.address)
    assert.equal(1, asked.role)
    assert.equal(5, asked.timeout)
    assert.is_nil(asked.body)
    local params = sent()
    assert.equal("b=c", params.A)
    assert.equal("HEAD", params.REQUEST_METHOD)
    assert.equal("/home/ann/page.php", params.SCRIPT_FILENAME)
    assert.equal("/page.php", params.SCRIPT_NAME)
    assert.equal("/home/ann", params.DOCUMENT_ROOT)
    assert.is_nil(params.CONTENT_LENGTH)
  end)

  it("sends a body", function()
    local path, remove = program.script("a=1")
    assert.equal(0, (program.run(core, "fcgi", ":9000", "--body", path, "--role", "filter")))
    remove()
    assert.equal("a=1", core.asked[1].body)
    assert.equal(3, core.asked[1].role)
    assert.equal("3", sent().CONTENT_LENGTH)
    assert.equal("POST", sent().REQUEST_METHOD)
    assert.equal("127.0.0.1:9000", core.asked[1].address)
  end)

  it("sends a filter its data, which is nothing where none is given", function()
    local path, remove = program.script("the file")
    assert.equal(0, (program.run(core, "fcgi", ":9000", "--role", "filter", "--data", path)))
    assert.equal("the file", core.asked[1].data)
    assert.equal("8", sent().FCGI_DATA_LENGTH)
    local status, _, stderr = program.run(core, "fcgi", ":9000", "--data", path)
    remove()
    assert.equal(2, status)
    assert.matches("--data: it is for --role filter", stderr, 1, true)
  end)

  it("keeps from an authorizer what it must not get", function()
    local path, remove = program.script("a=1")
    program.run(core, "fcgi", ":9000", "PATH_INFO=/x", "PATH_TRANSLATED=/y", "--role",
      "authorizer", "--script", "/a.php", "--body", path)
    remove()
    local params = sent()
    for _, name in ipairs({ "SCRIPT_NAME", "PATH_INFO", "PATH_TRANSLATED", "CONTENT_LENGTH" }) do
      assert.is_nil(params[name])
    end
    assert.equal("/a.php", params.SCRIPT_FILENAME)
    assert.equal(2, core.asked[1].role)
  end)

  it("fails with the status of the answer if told to", function()
    for _, case in ipairs({
      { "Status: 404\r\n\r\nno", 1, "moongate: the status of the answer is 404\n" },
      { "Status: 500 Oh\r\n\r\n", 1, "moongate: the status of the answer is 500\n" },
      { "X-A: 1\nStatus: 400\n\n", 1, "moongate: the status of the answer is 400\n" },
      { "Status: 399\r\n\r\n", 0, "" }, { "Content-Type: x/y\r\n\r\nyes", 0, "" },
      { "no head", 1, "moongate: the answer has no head\n" },
    }) do
      core.answer.stdout = case[1]
      local status, stdout, stderr = program.run(core, "fcgi", ":9000", "--fail")
      assert.equal(case[2], status)
      assert.equal(case[1], stdout)
      assert.equal("moongate: app status 0\n" .. case[3], stderr)
      assert.equal(0, (program.run(core, "fcgi", ":9000")))
    end
    core.answer.stdout, core.answer.app_status = "A: b\r\n\r\n", 3
    assert.equal(1, (program.run(core, "fcgi", ":9000", "--fail")))
  end)

  it("asks for the status page in its formats, and for pages at other paths", function()
    for _, body in ipairs({
      "pool:                 www\nprocess manager:      static\n\n************************\n",
      '{"pool":"www","process manager":"static"}', '<?xml version="1.0" ?>\n<status>\n</status>',
      '<!DOCTYPE html PUBLIC "x">\n<html><th>pool</th></html>', "# HELP phpfpm_up Could pool\n",
    }) do
      core.asked = {}
      core.answer.stdout = "Content-Type: x/y\r\n\r\n" .. body
      local status, stdout = program.run(core, "fcgi", ":9000", "status", "QUERY_STRING=full&x",
        "SCRIPT_NAME=/fpm")
      assert.equal(0, status)
      assert.equal(body, (stdout:gsub("\n$", "")) .. (body:match("\n$") or ""))
      local params = sent()
      assert.same({ "full&x", "/fpm", "/fpm" },
        { params.QUERY_STRING, params.SCRIPT_NAME, params.SCRIPT_FILENAME })
    end
    core.answer.stdout = "Status: 404\r\n\r\nFile not found.\n"
    local _, _, stderr = program.run(core, "fcgi", ":9000", "ping", "SCRIPT_NAME=/fpm-ping")
    assert.matches("the answer to /fpm-ping was 404", stderr, 1, true)
    assert.matches("`ping.path = /fpm-ping`", stderr, 1, true)
  end)

  it("fails with the application's status", function()
    core.answer.app_status = 3
    local status, _, stderr = program.run(core, "fcgi", ":9000")
    assert.equal(1, status)
    assert.equal("moongate: app status 3\n", stderr)
  end)

  it("fails where the server refuses", function()
    core.answer.protocol_status = 2
    local status, _, stderr = program.run(core, "fcgi", ":9000")
    assert.equal(1, status)
    assert.equal("moongate: the server refused the request: overloaded\n", stderr)
  end)

  it("fails where there is no server", function()
    core.answer, core.answer_error = nil, "127.0.0.1:9000: Connection refused"
    for _, words in ipairs({ {}, { "ping" }, { "status" }, { "values" } }) do
      local status, _, stderr = program.run(core, "fcgi", ":9000", unpack(words))
      assert.equal(1, status)
      assert.equal("moongate: 127.0.0.1:9000: Connection refused\n", stderr)
    end
  end)

  it("pings", function()
    core.answer.stdout = "Content-type: text/plain\r\n\r\npong"
    local status, stdout = program.run(core, "fcgi", ":9000", "ping")
    assert.equal(0, status)
    assert.equal("pong\n", stdout)
    assert.equal("/ping", sent().SCRIPT_NAME)
    assert.equal("/ping", sent().SCRIPT_FILENAME)
  end)

  it("fails where the answer to ping is another", function()
    for _, answer in ipairs({
      "Status: 404 Not Found\r\n\r\nFile not found.\n", "X: y\r\n\r\nHello", "pong", "",
    }) do
      core.answer.stdout = answer
      local status, stdout, stderr = program.run(core, "fcgi", ":9000", "ping")
      assert.equal(1, status)
      assert.equal("", stdout)
      assert.matches("is `ping.path = /ping` set in the pool%?", stderr)
    end
  end)

  it("shows php-fpm's status", function()
    core.answer.stdout = "Content-Type: text/plain\r\n\r\npool: www\n"
    local status, stdout = program.run(core, "fcgi", ":9000", "status")
    assert.equal(0, status)
    assert.equal("pool: www\n", stdout)
    assert.equal("/status", sent().SCRIPT_NAME)
    core.answer.stdout = "Status: 403 Forbidden\r\n\r\nAccess denied.\n"
    local stderr
    status, stdout, stderr = program.run(core, "fcgi", ":9000", "status")
    assert.equal(1, status)
    assert.equal("", stdout)
    assert.matches("was 403 and no status page; is `pm.status_path = /status` set", stderr)
  end)

  it("takes no other page for the status", function()
    core.answer.stdout = "Content-Type: text/html\r\n\r\n<h1>Welcome</h1>\n"
    local status, stdout, stderr = program.run(core, "fcgi", ":9000", "status")
    assert.equal(1, status)
    assert.equal("", stdout)
    assert.matches("was 200 and no status page", stderr)
  end)

  it("asks for values", function()
    core.answer = { FCGI_MPXS_CONNS = "0", FCGI_MAX_CONNS = "1" }
    local status, stdout = program.run(core, "fcgi", ":9000", "values")
    assert.equal(0, status)
    assert.equal("FCGI_MAX_CONNS=1\nFCGI_MPXS_CONNS=0\n", stdout)
    assert.same({ "FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS" }, core.asked[1].values)
  end)

  for _, case in ipairs({
    { { "x" }, "'x': expected an address such as" },
    { { ":9000", "pong" }, "'pong': expected KEY=VALUE, ping, status or values" },
    { { ":9000", "ping", "x" }, "'x': expected KEY=VALUE" },
    { { ":9000", "--role", "boss" }, "--role: expected responder, authorizer or filter" },
    { { ":9000", "--timeout", "0" }, "--timeout: expected a duration" },
    { { ":9000", "--timeout", "soon" }, "--timeout: expected a duration" },
  }) do
    it("rejects " .. table.concat(case[1], " "), function()
      local status, _, stderr = program.run(core, "fcgi", unpack(case[1]))
      assert.equal(2, status)
      local expected = "moongate fcgi: " .. case[2]
      assert.equal(expected, stderr:sub(1, #expected))
      assert.same({}, core.asked)
    end)
  end

  it("fails where the body cannot be read", function()
    local status, _, stderr = program.run(core, "fcgi", ":9000", "--body", "/no/such/file")
    assert.equal(1, status)
    assert.matches("^moongate: /no/such/file: No such file", stderr)
    assert.same({}, core.asked)
  end)
end)
