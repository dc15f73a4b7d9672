-- examples/wordpress-cache with its plugin: visitors get kept pages, others never do, and what is
-- published is made anew. WordPress is what the plugin asks of it, in some lines; `make
-- test-wordpress` has the real one.

local http = require("tests.support.http")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local server = require("tests.support.server")
local stage = require("tests.support.stage")

-- What the plugin of wordpress-cache asks of WordPress, in place of WordPress: `do` says what has
-- happened to the post /hello/ of the category /category/news/.
local WORDPRESS = [=[<?php
define('ABSPATH', __DIR__);
$hooks = [];
function add_action($name, $fn, $priority = 10, $count = 1) { $GLOBALS['hooks'][$name][] = $fn; }
function do_action($name, ...$args) {
  foreach ($GLOBALS['hooks'][$name] ?? [] as $fn) { $fn(...$args); }
}
function home_url($path = '') { return 'http://localhost' . $path; }
function admin_url($path) { return home_url("/wp-admin/$path"); }
function trailingslashit($url) { return rtrim($url, '/') . '/'; }
function get_permalink($post) { return home_url("/$post->post_name/"); }
function get_post_type_archive_link($type) { return false; }
function get_author_posts_url($id) { return home_url("/author/$id/"); }
function get_object_taxonomies($type) { return ['category', 'none']; }
function get_the_terms($post, $name) {
  return $name === 'category' ? [(object) ['slug' => 'news']] : false;
}
function get_term_link($term) { return home_url("/category/$term->slug/"); }
function get_year_link($y) { return home_url("/$y/"); }
function get_month_link($y, $m) { return home_url(sprintf('/%d/%02d/', $y, $m)); }
function get_day_link($y, $m, $d) { return home_url(sprintf('/%d/%02d/%02d/', $y, $m, $d)); }
function get_post($id) { return $GLOBALS['post']; }
function is_post_type_viewable($type) { return $type === 'post'; }
function get_term_by($field, $number) { return (object) ['slug' => "term-$number"]; }
function get_comment($id) { return (object) ['comment_post_ID' => 7]; }
function wp_hash($text) { return hash_hmac('sha256', $text, 'a secret'); }
function wp_unslash($text) { return $text; }
function wp_die() { exit('told'); }
function wp_remote_post($url, $args) {
  $at = "http://{$_SERVER['SERVER_ADDR']}:{$_SERVER['SERVER_PORT']}"
    . parse_url($url, PHP_URL_PATH);
  $options = ['method' => 'POST', 'content' => http_build_query($args['body']),
    'header' => "Host: localhost\r\nContent-Type: application/x-www-form-urlencoded"];
  file_get_contents($at, false, stream_context_create(['http' => $options]));
}
register_shutdown_function(function () { do_action('shutdown'); });
$post = (object) ['post_name' => 'hello', 'post_type' => 'post', 'post_author' => 3,
  'post_status' => 'publish', 'post_date' => '2026-01-31 10:00:00',
  'post_content' => 'one<!--nextpage-->two'];
require __DIR__ . '/../wp-content/mu-plugins/moongate-cache.php';
$old = clone $post;
$old->post_name = 'old-hello';
switch ($_GET['do'] ?? '') {
  case 'publish': do_action('transition_post_status', 'publish', 'draft', $post); break;
  case 'rename': do_action('post_updated', 7, $post, $old); break;
  case 'draft': do_action('transition_post_status', 'draft', 'auto-draft', $post); break;
  case 'comment': do_action('comment_post', 5, 1); break;
  case 'spam': do_action('comment_post', 5, 'spam'); break;
  case 'terms': do_action('set_object_terms', 7, [], [1], 'category', false, [2]); break;
  case 'delete': do_action('before_delete_post', 7); break;
  case 'template':
    $post->post_type = 'wp_template';
    do_action('transition_post_status', 'publish', 'publish', $post);
    break;
  case 'theme': do_action('switch_theme'); break;
  case 'cron':
    echo 'begun';
    while (ob_get_level() > 0) { ob_end_flush(); }
    flush();
    do_action('transition_post_status', 'publish', 'future', $post);
    break;
}
]=]

describe("wordpress-cache", function()
  local gate

  setup(function()
    gate = server.start({
      folder = "examples/wordpress-cache", route = "route.lua",
      args = { "--php", "unix:" .. process.tempdir("sock") .. "/php.sock" },
    })
    stage.write(gate.dir, {
      ["public/wp-admin/post.php"] = WORDPRESS,
      ["public/wp-admin/admin-ajax.php"] = WORDPRESS
        .. "if (($_POST['action'] ?? '') === 'moongate_cache') { "
        .. "do_action('wp_ajax_nopriv_moongate_cache'); }",
    })
  end)

  teardown(function()
    gate:stop()
  end)

  local PAGES = { "/", "/feed/", "/hello/", "/hello/feed/", "/hello/2/", "/hello/comment-page-1/",
    "/category/news/", "/category/news/page/2/", "/author/3/", "/2026/", "/2026/01/",
    "/2026/01/31/", "/hello/?utm_source=x", "/old-hello/", "/other/", "/category/term-1/",
    "/category/term-2/" }

  local function ask(path, cookie)
    local res = http.request(gate.address, { path = path, host = "localhost",
      headers = { Cookie = cookie, ["Accept-Encoding"] = "identity" } })
    assert.equal(200, res.status, path)
    assert.is_nil(res.headers["x-cache-purge"])
    return res
  end

  --- All pages are kept, and seen by who has cookies of others, too.
  local function fill()
    for _, path in ipairs(PAGES) do
      poll.wait(function()
        return ask(path, "_ga=1").headers["x-cache"] == "hit"
      end, path)
    end
  end

  --- The pages that are not there any more.
  local function gone()
    local list = {}
    for _, path in ipairs(PAGES) do
      list[#list + 1] = ask(path).headers["x-cache"] == "miss" and path or nil
    end
    return table.concat(list, " ")
  end

  local function post(action, path, body)
    local res = http.request(gate.address, { path = (path or "/wp-admin/post.php?do=") .. action,
      method = "POST", host = "localhost", body = body or "a=b",
      headers = { ["Content-Type"] = "application/x-www-form-urlencoded" } })
    assert.equal(200, res.status, res.body)
    assert.is_nil(res.headers["x-cache-purge"])
    return res
  end

  -- All of PAGES but those of others.
  local OF_POST = table.concat(PAGES, " ", 1, 13)

  it("gives visitors kept pages, made without a cookie of theirs", function()
    local first = ask("/hello/", "_ga=1; wordpress_test_cookie=x")
    assert.equal("miss", first.headers["x-cache"])
    assert.matches("cookies: none", first.body)
    for _, cookie in ipairs({ "", "_ga=2", "utm=x; PHPSESSID=y" }) do
      local res = ask("/hello/", cookie ~= "" and cookie or nil)
      assert.same({ "hit", first.body }, { res.headers["x-cache"], res.body })
    end
  end)

  it("never gives one to who is logged in, has commented or knows a password", function()
    fill()
    for _, cookie in ipairs({ "wordpress_logged_in_0a=ann", "a=b; comment_author_0a=ann",
      "wp-postpass_0a=x; c=d" }) do
      local res = ask("/hello/", cookie)
      assert.equal("bypass", res.headers["x-cache"])
      assert.matches("cookies: .*" .. cookie:match("([%w_-]+_0a)"):gsub("%-", "%%-"), res.body)
      assert.equal("hit", ask("/hello/").headers["x-cache"])
    end
    for _, path in ipairs({ "/?p=1&preview=true", "/?s=moon", "/wp-admin/", "/wp-login.php" }) do
      assert.equal("bypass", ask(path).headers["x-cache"], path)
      assert.equal("bypass", ask(path).headers["x-cache"], path)
    end
    assert.equal("bypass", post("", "/hello/").headers["x-cache"])
  end)

  it("makes the pages anew that show what was published, changed or commented", function()
    for action, expected in pairs({
      publish = OF_POST, comment = OF_POST, delete = OF_POST, draft = "", spam = "",
      terms = "/category/term-1/ /category/term-2/",
      rename = "/ /feed/ /category/news/ /category/news/page/2/ /author/3/ /2026/ /2026/01/ "
        .. "/2026/01/31/ /old-hello/", -- its address of before
    }) do
      fill()
      post(action)
      assert.equal(expected, gone(), action)
    end
  end)

  it("makes all of them anew for a theme or a template", function()
    for _, action in ipairs({ "theme", "template" }) do
      fill()
      post(action)
      assert.equal(table.concat(PAGES, " "), gone())
    end
  end)

  it("does so where the answer has left already", function()
    fill()
    assert.equal("begun", post("cron").body)
    assert.equal(OF_POST, gone())
  end)

  it("follows nobody else's word", function()
    fill()
    post("", "/wp-admin/admin-ajax.php", "action=moongate_cache&words=all&sign=0")
    http.request(gate.address, { path = "/wp-admin/post.php", method = "POST", body = "a=b",
      host = "localhost", headers = { ["X-Cache-Purge"] = "all" } })
    assert.equal("", gone())
  end)

  it("has a spec", function()
    local result = server.command({ "test", gate.route_path })
    assert.equal(0, result.code, result.stdout .. result.stderr)
  end)
end)
