-- Makes a DokuWiki site out of Debian's packages, which tools/install has unpacked into
-- build/deps/dokuwiki: a copy in a temporary folder, laid out as Debian lays it out (scripts in
-- usr/share/dokuwiki, data and templates in var/lib/dokuwiki behind symlinks, settings in
-- etc/dokuwiki), with Debian's absolute paths turned to that folder. Used by 40-dokuwiki_spec.lua.

local process = require("tests.support.process")

local dokuwiki = {}

---@class DokuWiki
---@field dir string the folder that stands for /
---@field root string document root
---@field installer boolean it has its installer page; Debian 13's package has not
---@field user? string who owns what it writes
---@field extensions string[] PHP extensions to load that the PHP of this system lacks

local UNPACKED = "build/deps/dokuwiki"

-- $1: where it was unpacked, $2: the copy, $3: the user who shall own what PHP writes, or nothing.
-- Debian's postinst asks the questions that the installer page asks elsewhere; the page still works
-- once it finds `conf` and `data` where it expects them.
local PREPARE = [[
set -e
cp -R --preserve=links "$1/." "$2"
cd "$2"
ln -sfn "$2/var/lib/dokuwiki/lib/plugins" usr/share/dokuwiki/lib/plugins
ln -sfn "$2/var/lib/dokuwiki/lib/tpl" usr/share/dokuwiki/lib/tpl
ln -sfn "$2/var/lib/dokuwiki/data" usr/share/dokuwiki/data
ln -sfn "$2/etc/dokuwiki" usr/share/dokuwiki/conf
ln -sfn "$2/usr/share/dokuwiki/inc" var/lib/dokuwiki/inc
ln -sfn "$2/var/lib/dokuwiki/acl/acl.auth.php" etc/dokuwiki/acl.auth.php
ln -sfn "$2/var/lib/dokuwiki/acl/users.auth.php" etc/dokuwiki/users.auth.php
rm -f usr/share/dokuwiki/.htaccess
find etc usr var -type f '(' -name '*.php' -o -name '*.inc' ')' |
  xargs grep -lE "['\"]/(usr/share|etc/dokuwiki|var/lib/dokuwiki)" |
  xargs sed -i -E "s#(['\"])/(usr/share|etc/dokuwiki|var/lib/dokuwiki)#\1$2/\2#g"
chmod -R u+rwX,go+rX .
if [ -n "$3" ]; then
  chown -R "$3" etc/dokuwiki var/lib/dokuwiki/acl var/lib/dokuwiki/data usr/share/dokuwiki
fi
]]

-- Pages as /doku.php/namespace/page, so that PATH_INFO does the work; no checks for updates, which
-- would leave this machine. The installer takes these settings over.
local PRESET = [[
$conf['userewrite'] = 2;
$conf['useslash'] = 1;
$conf['updatecheck'] = 0;
]]

local function missing_extensions(dir, program)
  local loaded = process.run({ argv = { program, "-m" } }).stdout
  local list = {}
  for _, name in ipairs({ "xml", "dom", "SimpleXML" }) do
    if not ("\n" .. loaded):find("\n" .. name .. "\n", 1, true) then
      local found = process.run({
        argv = { "find", dir .. "/usr/lib/php", "-name", name:lower() .. ".so" },
      }).stdout:match("[^\n]+")
      list[#list + 1] = found
    end
  end
  return list
end

--- Makes the site, ready for its installer page.
---@param program string the PHP-FPM that will run it
---@param user? string who owns what it writes, where that is not the user of the tests
---@return DokuWiki
function dokuwiki.prepare(program, user)
  assert(process.read_file(UNPACKED .. "/.packages"), "no DokuWiki: run tools/install test")
  local dir = process.tempdir("wiki")
  local root = dir .. "/usr/share/dokuwiki"
  assert(os.execute("mkdir -p " .. process.quote(root)) == 0)
  process.write_file(root .. "/install.conf", PRESET)
  local result = process.run({
    argv = { "sh", "-c", PREPARE, "sh", process.cwd() .. "/" .. UNPACKED, dir, user or "" },
  })
  assert(result.code == 0, result.stderr)
  return {
    dir = dir, root = root, user = user, extensions = missing_extensions(dir, program),
    installer = process.read_file(root .. "/install.php") ~= nil,
  }
end

-- As Debian's postinst and the installer page write it.
local LOCAL = [[
<?php
$conf['title'] = '%s';
$conf['lang'] = 'en';
$conf['license'] = '0';
$conf['useacl'] = 1;
$conf['superuser'] = '@admin';
]] .. PRESET

--- Does what the installer page does, where there is none: everybody may read, users may write.
---@param site DokuWiki
---@param author { title: string, name: string, full: string, email: string, password: string }
function dokuwiki.configure(site, author)
  local hash = process.run({ argv = { "md5sum" }, input = author.password }).stdout:match("^%x+")
  local files = {
    ["etc/dokuwiki/local.php"] = LOCAL:format(author.title),
    ["var/lib/dokuwiki/acl/acl.auth.php"] = "# <?php exit()?>\n*\t@ALL\t1\n*\t@user\t8\n",
    ["var/lib/dokuwiki/acl/users.auth.php"] = ("# <?php exit()?>\n%s:%s:%s:%s:admin,user\n"):format(
      author.name, hash, author.full, author.email),
  }
  for name, text in pairs(files) do
    local path = site.dir .. "/" .. name
    process.write_file(path, text)
    if site.user then
      assert(os.execute(("chown %s %s"):format(site.user, process.quote(path))) == 0)
    end
  end
end

return dokuwiki
