<?php
// A front controller: every address that is neither a script nor a file comes here.
$path = rawurldecode(parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH));
if ($path !== '/' && !preg_match('~^/(page|index\.php)(/|$)~', $path)) {
    http_response_code(404);
}
?>
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>php-site</title>
<link rel="stylesheet" href="/style.css">
<h1><?= http_response_code() == 404 ? 'No such page' : 'A page' ?></h1>
<p>You asked for <code><?= htmlspecialchars($path) ?></code>
(PATH_INFO: <code><?= htmlspecialchars($_SERVER['PATH_INFO'] ?? 'none') ?></code>,
environment: <code><?= htmlspecialchars($_SERVER['APP_ENV'] ?? 'none') ?></code>).</p>
<ul>
  <li><a href="/page/one">/page/one</a>
  <li><a href="/index.php/two">/index.php/two</a>
  <li><a href="/nothing/here">/nothing/here</a>
</ul>
