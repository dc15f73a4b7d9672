-- `moongate test examples/cgit/route.lua`

local route = require("moongate.testing").load("route.lua")

describe("git", function()
  it("has a program for browsers and one for itself", function()
    local out = route:request { url = "/cgit/project/log/?h=main" }
    assert.equal("/usr/lib/cgit/cgit.cgi", out.params.SCRIPT_FILENAME)
    assert.equal("/etc/cgitrc", out.params.CGIT_CONFIG)
    out = route:request { url = "/git/project.git/info/refs?service=git-upload-pack" }
    assert.equal("/usr/lib/git-core/git-http-backend", out.params.SCRIPT_FILENAME)
    assert.equal("/srv/git", out.params.GIT_PROJECT_ROOT)
    assert.equal("/cgit/", route:request({ url = "/" }).redirect)
  end)

  it("is pushed to by the local machine only", function()
    for _, push in ipairs({
      { url = "/git/project.git/info/refs?service=git-receive-pack" },
      { url = "/git/project.git/git-receive-pack", method = "POST", body = "x" },
    }) do
      assert.equal("cgi", route:request(push).backend)
      push.ip = "192.0.2.7"
      assert.equal(403, route:request(push).status)
    end
  end)
end)
