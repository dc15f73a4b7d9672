-- What the route answers clients that ask for a name, without a server:
--
--     moongate test examples/certificates/route.lua

local testing = require("moongate.testing")

--- A folder with certificates for blue.localhost and red.localhost; the latter has the key of the
--- former.
local function certificates()
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute(([[
    for name in blue red; do
      mkdir -p "%s/$name.localhost" && cd "%s/$name.localhost" &&
        openssl req -x509 -nodes -days 30 -newkey ec -pkeyopt ec_paramgen_curve:P-256 \
          -subj /CN=$name.localhost -keyout key.pem -out cert.pem 2>/dev/null || exit 1
    done
    cp ../blue.localhost/key.pem .]]):format(folder, folder)) == 0)
  return folder
end

describe("a client", function()
  local route, store, folder

  setup(function()
    route, store, folder = testing.load("route.lua"), require("store"), certificates()
    store.folder = folder
  end)

  teardown(function()
    os.execute(("rm -r '%s'"):format(folder))
  end)

  it("gets the certificate of the name that it asks for", function()
    local out = route:certificate("Blue.Localhost")
    assert.is_nil(out.error)
    assert.is_nil(out.problem)
    assert.equal(folder .. "/blue.localhost/cert.pem", out.cert)
    assert.same({ "blue.localhost" }, out.names)
    assert.equal(600, out.ttl)
  end)

  it("gets none for an unknown name", function()
    assert.same({}, route:certificate("green.localhost"))
  end)

  it("does not get one whose key is another one's", function()
    assert.matches("the key does not fit", route:certificate("red.localhost").error, 1, true)
  end)
end)
