-- Specs of moongate.docroot.

local docroot = require("moongate.docroot")
local fake_fs = require("support.fs")

describe("docroot.strip", function()
  it("takes whole segments off", function()
    assert.equal("/doku.php", docroot.strip("/wiki/doku.php", "/wiki"))
    assert.equal("/", docroot.strip("/wiki/", "/wiki"))
    assert.equal("/", docroot.strip("/wiki", "/wiki"))
    assert.equal("/b", docroot.strip("/wiki/a/b", "/wiki/a"))
  end)

  it("does not mind a slash at the prefix's end", function()
    assert.equal("/x", docroot.strip("/wiki/x", "/wiki/"))
    assert.equal("/x", docroot.strip("/x", "/"))
  end)

  it("refuses other paths", function()
    assert.is_nil(docroot.strip("/wikipedia", "/wiki"))
    assert.is_nil(docroot.strip("/wik", "/wiki"))
    assert.is_nil(docroot.strip("/", "/wiki"))
    assert.is_nil(docroot.strip("/a/wiki", "/wiki"))
  end)
end)

describe("docroot.by_pattern", function()
  for path, expected in pairs({
    ["/index.php"] = { "/index.php" },
    ["/index.php/7/x"] = { "/index.php", "/7/x" },
    ["/index.php/"] = { "/index.php", "/" },
    ["/a.php/b.php/c"] = { "/a.php", "/b.php/c" },
    ["/a.phpx/b.php"] = { "/a.phpx/b.php" },
    ["/x.php.php"] = { "/x.php.php" },
    ["/a/b"] = {},
    ["/"] = {},
    ["/x.PHP"] = {},
    ["/x.php."] = {},
    ["/x.php "] = {},
    ["/xphp"] = {},
    ["/.php/x"] = { "/.php", "/x" },
  }) do
    it("splits " .. path, function()
      assert.same(expected, { docroot.by_pattern(path) })
    end)
  end

  it("takes the first of several extensions", function()
    assert.same({ "/a.cgi", "/b.php" },
      { docroot.by_pattern("/a.cgi/b.php", { ".php", ".cgi" }) })
    assert.same({ "/a.php", "/b.cgi" },
      { docroot.by_pattern("/a.php/b.cgi", { ".php", ".cgi" }) })
  end)
end)

describe("docroot.on_disk", function()
  local fs
  before_each(function()
    fs = fake_fs.new({ "/srv/index.php", "/srv/dir.php/in.php", "/srv/evil.jpg", "/srv/a.cgi" })
  end)

  local function split(path, scripts)
    return { docroot.on_disk(path, "/srv", nil, scripts, fs) }
  end

  it("finds the first segment that is a file", function()
    assert.same({ "/index.php" }, split("/index.php"))
    assert.same({ "/index.php", "/a/b" }, split("/index.php/a/b"))
    assert.same({ "/dir.php/in.php", "/x.php" }, split("/dir.php/in.php/x.php"))
  end)

  it("finds nothing where no file has an allowed extension", function()
    assert.same({}, split("/evil.jpg/x.php"))
    assert.same({}, split("/missing.php"))
    assert.same({}, split("/dir.php"))
    assert.same({}, split("/evil.jpg"))
    assert.same({}, split("/a.cgi"))
    assert.same({ "/a.cgi", "/x" }, split("/a.cgi/x", { ".cgi" }))
  end)

  it("looks at the disk as little as it can", function()
    split("/style.css")
    assert.same({}, fs.probes)
    split("/missing.php/b.php/c.php")
    assert.same({ "/missing.php" }, fs.probes)
  end)
end)

describe("docroot.climbs_over_file", function()
  local fs = fake_fs.new({ "/srv/evil.jpg", "/srv/dir/" })

  it("is true below a file only", function()
    assert.is_true(docroot.climbs_over_file("/evil.jpg/x.php", "/srv", nil, fs))
    assert.is_true(docroot.climbs_over_file("/evil.jpg/a/b/x.php", "/srv", nil, fs))
    assert.is_false(docroot.climbs_over_file("/dir/x.php", "/srv", nil, fs))
    assert.is_false(docroot.climbs_over_file("/no/such/x.php", "/srv", nil, fs))
    assert.is_false(docroot.climbs_over_file("/x.php", "/srv", nil, fs))
  end)

  it("looks once where nothing exists", function()
    fs.probes = {}
    docroot.climbs_over_file("/no" .. ("/such"):rep(1000) .. "/x.php", "/srv", nil, fs)
    assert.same({ "/no" }, fs.probes)
  end)
end)

describe("docroot.root_problem", function()
  it("is nil for absolute paths of names", function()
    for _, path in ipairs({ "/", "/srv", "/srv/www", "/srv/.a", "/srv/..a/a..", "/srv/a b" }) do
      assert.is_nil(docroot.root_problem(path), path)
    end
  end)

  it("names what a path becomes that is made of a client's words", function()
    for _, path in ipairs({
      "/srv/", "//", "/srv//a", "/srv/.", "/srv/..", "/..", "/srv/../etc", "/./a", "//srv",
    }) do
      assert.matches("has an empty segment, '.' or '..' in it", docroot.root_problem(path), 1, true)
    end
    assert.equal('expected an absolute path such as "/srv/www", got nothing',
      docroot.root_problem(nil))
    assert.equal('expected an absolute path such as "/srv/www", got "srv"',
      docroot.root_problem("srv"))
  end)
end)

describe("docroot.is_source", function()
  it("is true for what a script's name becomes elsewhere", function()
    for _, path in ipairs({ "/x.php", "/x.PHP", "/x.pHp", "/x.php.", "/x.php ", "/x.php. . " }) do
      assert.is_true(docroot.is_source(path), path)
    end
    for _, path in ipairs({ "/x.css", "/php", "/x.phpx", "/x.php/y.css", "/" }) do
      assert.is_false(docroot.is_source(path), path)
    end
    assert.is_true(docroot.is_source("/x.Cgi", { ".php", ".CGI" }))
  end)
end)

describe("docroot.is_script", function()
  it("compares names as they are", function()
    assert.is_true(docroot.is_script("/x.php"))
    assert.is_false(docroot.is_script("/x.PHP"))
    assert.is_false(docroot.is_script("/x.php/"))
    assert.is_true(docroot.is_script("/x.cgi", { ".php", ".cgi" }))
  end)
end)
