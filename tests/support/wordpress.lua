-- A WordPress out of Debian's packages, which tools/install has unpacked into build/deps/wordpress:
-- a copy in a temporary folder without Debian's links, and a MariaDB of its own behind a unix
-- socket. Nothing of it leaves this machine. Used by tests/wordpress.

local poll = require("tests.support.poll")
local process = require("tests.support.process")
local stage = require("tests.support.stage")

local wordpress = {}

local ROOT = process.cwd() .. "/build/deps/wordpress"

-- $1: where it was unpacked, $2: the folder for it. Debian has the scripts of other packages behind
-- links from the root on.
local COPY = [[
set -e
cp -R "$1/usr/share/wordpress/." "$2"
cp -R "$1/var/lib/wordpress/wp-content/." "$2/wp-content" 2>/dev/null || true
find "$2" -type l | while read -r link; do
  target=$(readlink "$link")
  case $target in
  /*) ;;
  *) target=$(dirname "/usr/share/wordpress/${link#"$2"/}")/$target ;;
  esac
  rm -f "$link"
  [ ! -e "$1$target" ] || cp -RL "$1$target" "$link"
done
rm -f "$2/wp-config.php"
mkdir -p "$2/wp-content/uploads"
chmod -R u+rwX,go+rX "$2"
]]

-- The site's own address is the one that it is asked by. It asks nobody else.
local CONFIG = [[<?php
define('DB_NAME', 'site');
define('DB_USER', 'root');
define('DB_PASSWORD', '');
define('DB_HOST', 'localhost:%s');
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
foreach (['AUTH', 'SECURE_AUTH', 'LOGGED_IN', 'NONCE'] as $name) {
  define($name . '_KEY', 'key of ' . $name);
  define($name . '_SALT', 'salt of ' . $name);
}
define('WP_HOME', 'http://' . $_SERVER['HTTP_HOST']);
define('WP_SITEURL', WP_HOME);
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('AUTOMATIC_UPDATER_DISABLED', true);
define('DISABLE_WP_CRON', true); // the test calls wp-cron.php itself
$table_prefix = 'wp_';
if (!defined('ABSPATH')) { define('ABSPATH', __DIR__ . '/'); }
require_once ABSPATH . 'wp-settings.php';
]]

---@class WordPress
---@field launcher string[] a command that becomes PHP-FPM with the extension for MariaDB
---@field socket string of the MariaDB
local WordPress = {}
WordPress.__index = WordPress

-- A MariaDB without accounts, which no other machine and no other user's programs can reach.
local function start_database(self)
  local data = self.dir .. "/data"
  assert(os.execute("mkdir -p " .. process.quote(data)) == 0)
  local argv = {
    ROOT .. "/usr/sbin/mariadbd", "--no-defaults", "--datadir=" .. data,
    "--socket=" .. self.socket, "--pid-file=" .. self.dir .. "/pid", "--skip-networking",
    "--skip-grant-tables", "--skip-log-bin", "--innodb-buffer-pool-size=32M",
    "--innodb-log-file-size=8M", "--tmpdir=" .. self.dir,
    "--lc-messages-dir=" .. ROOT .. "/usr/share/mysql",
    "--character-sets-dir=" .. ROOT .. "/usr/share/mysql/charsets",
    "--init-file=" .. self.dir .. "/init.sql",
  }
  if process.run({ argv = { "id", "-u" } }).stdout == "0\n" then
    argv[#argv + 1] = "--user=root"
  end
  process.write_file(self.dir .. "/init.sql", "CREATE DATABASE IF NOT EXISTS site;\n")
  self.database = process.spawn({
    argv = argv, env = { LD_LIBRARY_PATH = stage.libraries(ROOT) }, cwd = self.dir,
    stdout = self.dir .. "/log", stderr = self.dir .. "/log",
  })
  local ok, problem = pcall(poll.wait, function()
    assert(self.database:alive(), "it has ended")
    return (process.read_file(self.dir .. "/log") or ""):find("ready for connections", 1, true)
  end, "MariaDB to listen")
  if not ok then
    self:stop()
    error(("MariaDB: %s:\n%s"):format(problem, process.read_file(self.dir .. "/log") or ""), 3)
  end
end

--- Puts a WordPress into a folder, and starts its database.
---@param root string
---@return WordPress
function wordpress.start(root)
  assert(process.read_file(ROOT .. "/.packages"), "no WordPress: run tools/install wordpress")
  local dir = process.tempdir("mariadb")
  local self = setmetatable({ dir = dir, socket = dir .. "/db.sock" }, WordPress)
  local result = process.run({ argv = { "sh", "-c", COPY, "sh", ROOT, root } }, 120)
  assert(result.code == 0, result.stderr)
  process.write_file(root .. "/wp-config.php", CONFIG:format(self.socket))
  -- A pool can't load this one by itself: it is there from the start.
  local lines = {}
  for i, name in ipairs({ "mysqlnd", "mysqli" }) do
    lines[i] = "extension=" .. process.run({
      argv = { "find", ROOT .. "/usr/lib/php", "-name", name .. ".so" },
    }).stdout:match("[^\n]+")
  end
  assert(os.execute("mkdir -p " .. process.quote(dir .. "/ini")) == 0)
  process.write_file(dir .. "/ini/mysqli.ini", table.concat(lines, "\n") .. "\n")
  self.launcher = { "env", ("PHP_INI_SCAN_DIR=:%s/ini"):format(dir) }
  -- The pool's user connects to the socket.
  assert(os.execute("chmod 755 " .. process.quote(dir)) == 0)
  start_database(self)
  return self
end

function WordPress:stop()
  if self.database then
    self.database:stop()
  end
end

return wordpress
