-- Specs of moongate.auth.htpasswd and remembered.

local htpasswd = require("moongate.auth.htpasswd")
local remembered = require("moongate.auth.remembered")

describe("moongate.auth.htpasswd", function()
  local path
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  local function read(text)
    local file = assert(io.open(path, "wb"))
    file:write(text)
    file:close()
    local users, problem = htpasswd.read(path)
    return users, problem and problem:sub(#path + 1)
  end

  local BCRYPT = "$2y$04$GXOtoSxvHDW5PfV12m.mj.cjzDWm6/Ls0i6Ua/PPylgETaZFcsJnG"

  it("reads what htpasswd, openssl and mkpasswd make", function()
    local users = read("# staff\n\nfrank:" .. BCRYPT .. "\r\n"
      .. "a:$apr1$abcd$kQ6YyobdHTyl/DukqNpY10\nb:$5$abcd$zZA/0qLgoSH67pe3824tVxM.c9kUup4SAH1VanH0F"
      .. "R.\n"
      .. "c:$6$rounds=5000$ab$x/yz:comment\nd:{SHA}GpHWL3ymc5liWkNopqtdSjuqYHM=\n"
      .. "e:$y$j9T$abcd$ef/gh")
    assert.equal(BCRYPT, users.frank)
    assert.equal("$6$rounds=5000$ab$x/yz", users.c)
    local count = 0
    for _ in pairs(users) do
      count = count + 1
    end
    assert.equal(6, count)
    assert.same({}, (read("")))
  end)

  it("says in which line it is no good", function()
    for text, problem in pairs({
      ["frank"] = ':1: expected a name, ":" and a hash',
      ["frank:" .. BCRYPT .. "\nfrank:" .. BCRYPT] = ":2: 'frank' is there twice",
      ["#\nfrank:secret"] = ":2: expected " .. htpasswd.EXPECTED,
      ["frank:" .. BCRYPT .. "x"] = ":1: expected " .. htpasswd.EXPECTED,
      ["frank:abJnggxhB/yWI"] = ":1: expected " .. htpasswd.EXPECTED,
    }) do
      local users, found = read(text)
      assert.is_nil(users)
      assert.equal(problem, found)
    end
  end)
end)

describe("moongate.auth.remembered", function()
  it("knows right and wrong for their time", function()
    local known = remembered.new(10)
    known:set("a", true, 100)
    known:set("b", false, 50)
    assert.is_true(known:get("a", 0))
    assert.is_false(known:get("b", 49))
    assert.is_nil(known:get("b", 50))
    assert.is_true(known:get("a", 99))
    assert.is_nil(known:get("a", 100))
    assert.is_nil(known:get("c", 0))
    known:set("b", true, 100)
    assert.is_true(known:get("b", 50))
  end)

  it("forgets the oldest ones, and is bounded", function()
    local known = remembered.new(10)
    for i = 1, 1000 do
      known:set("k" .. i, true, 100)
    end
    local count = 0
    for i = 1, 1000 do
      count = count + (known:get("k" .. i, 0) and 1 or 0)
    end
    assert.is_true(count >= 10 and count <= 20, count)
    assert.is_true(known:get("k1000", 0))
  end)
end)
