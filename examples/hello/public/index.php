<?php
// The page behind http://127.0.0.1:8080/. Change it and load it again.
$name = trim($_GET['name'] ?? '');
$name = $name !== '' ? $name : 'world';
$shown = ['REQUEST_URI', 'SCRIPT_FILENAME', 'SERVER_SOFTWARE', 'SERVER_PROTOCOL', 'REMOTE_ADDR'];
?>
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Hello</title>
<link rel="stylesheet" href="style.css">
<h1>Hello, <?= htmlspecialchars($name) ?>!</h1>
<form>
  <input name="name" placeholder="your name" autofocus>
  <button>Greet</button>
</form>
<p>This page is <code><?= htmlspecialchars(__FILE__) ?></code>, run by PHP
<?= htmlspecialchars(PHP_VERSION) ?>.</p>
<table>
<?php foreach ($shown as $key): ?>
  <tr><th><?= $key ?><td><?= htmlspecialchars($_SERVER[$key] ?? '') ?>

<?php endforeach ?>
</table>
