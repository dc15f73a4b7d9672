-- What this machine's Moongate serves: moongate.service runs it. `man route.lua` and
-- /usr/share/doc/moongate/docs/route.md say what can stand here. After a change:
--
--   moongate check /etc/moongate/route.lua     finds mistakes, with the line
--   systemctl reload moongate                  or `moongate reload`, which says what happened

-- local php = require("moongate.php")

return {
  -- Reachable from this machine only, and on a port that web servers leave alone. For the world: ":80".
  listen = "127.0.0.1:8080",

  -- Workers are a user of their own: no PHP can look into them. Their group is that of PHP-FPM, so that
  -- they may connect to its sockets, and that it may read files which they hand over.
  user = "moongate",
  group = "www-data",

  -- Errors go to the journal: journalctl -u moongate
  log = { access = "/var/log/moongate/access.log" },

  -- A site in PHP: `apt install php-fpm`, then take away the dashes here and above, and in the place of
  -- on_request below put
  --
  --   on_request = php.site({ root = "/var/www/html", backend = "app", front = "/index.php" }),
  --
  -- backends = {
  --   -- max_conns: what pm.max_children of the pool is. `moongate doctor` compares them.
  --   app = { servers = "unix:/run/php/php-fpm.sock", max_conns = 5 },
  -- },

  on_request = function()
    return {
      status = 200,
      headers = { ["Content-Type"] = "text/html; charset=utf-8" },
      body = [[
<!DOCTYPE html>
<html lang="en">
<title>Welcome to Moongate</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem }
:root { color-scheme: light dark }
</style>
<h1>Moongate is installed, and runs</h1>
<p>This page comes from <code>/etc/moongate/route.lua</code>. What to do next:</p>
<ol>
<li>Say there what to serve: the file has a site in PHP as a comment, and
<code>moongate init --list</code> names examples.</li>
<li><code>moongate check /etc/moongate/route.lua</code> finds mistakes before they are served.</li>
<li><code>systemctl reload moongate</code> serves it. No client notices.</li>
<li><code>moongate explain /etc/moongate/route.lua http://localhost/</code> says what becomes of a
request, <code>moongate status</code> what the server does.</li>
<li>When it is right, <code>listen = ":80"</code> opens it to the world.</li>
</ol>
<p>More: <code>man moongate</code>, <code>man route.lua</code>, and
<code>/usr/share/doc/moongate/docs/</code>.</p>
</html>
]],
    }
  end,
}
