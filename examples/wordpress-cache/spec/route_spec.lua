-- `moongate test examples/wordpress-cache/route.lua`

local route = require("moongate.testing").load("route.lua")

local function cache(path, request)
  request = request or {}
  request.url = "http://localhost" .. path
  return route:request(request).decision.cache
end

it("keeps pages for visitors, whatever cookies of others they have", function()
  for _, path in ipairs({ "/", "/2026/01/hello-world/", "/feed/", "/?p=12", "/robots.txt" }) do
    local kept = cache(path, { headers = { Cookie = "_ga=1; wordpress_test_cookie=x" } })
    assert.equal(false, kept.bypass, path)
    assert.equal("10m", kept.ttl)
  end
end)

it("keeps nothing for who has pages of their own", function()
  for _, cookie in ipairs({ "wordpress_logged_in_0a=ann", "a=b; comment_author_0a=ann",
    "wp-postpass_0a=x", "wordpress_sec_0a=x", "woocommerce_items_in_cart=1" }) do
    assert.is_true(cache("/2026/01/hello-world/", { headers = { Cookie = cookie } }).bypass, cookie)
  end
end)

it("keeps nothing of previews, searches, REST and the dashboard", function()
  for _, path in ipairs({ "/?p=12&preview=true", "/?s=moon", "/?rest_route=/wp/v2/posts",
    "/wp-admin/", "/wp-json/wp/v2/posts", "/wp-login.php", "/wp-cron.php?doing_wp_cron=1" }) do
    assert.is_true(cache(path).bypass, path)
  end
end)

it("gives WordPress no cookie for a page that all get", function()
  local function cookies(cookie)
    return route:request({ url = "http://localhost/a/", headers = { Cookie = cookie } }).params
      .HTTP_COOKIE
  end
  assert.is_nil(cookies("_ga=1"))
  assert.equal("wordpress_logged_in_0a=ann", cookies("wordpress_logged_in_0a=ann"))
end)

it("has a tag for each page, which its parts share", function()
  for _, path in ipairs({ "/a/b/", "/a/b", "/a/b/feed/", "/a/b/feed/atom/", "/a/b/page/2/",
    "/a/b/comment-page-3/", "/a/b/?x=y" }) do
    assert.same({ "page:/a/b" }, cache(path).tags, path)
  end
  assert.same({ "page:" }, cache("/").tags)
  assert.same({ "page:/caf\195\169_x" }, cache("/caf%C3%A9%20x/").tags)
  assert.equal(200, #cache("/" .. ("x"):rep(300)).tags[1])
end)

it("lets nobody guess passwords for long", function()
  local function login()
    return route:request { url = "http://localhost/wp-login.php", method = "POST" }
  end
  for _ = 1, 10 do
    assert.equal("app", login().backend)
  end
  assert.equal(429, login().status)
end)
