<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>blue</title>
<link rel="stylesheet" href="style.css">
<h1>The blue site</h1>
<p>Tenant <code><?= htmlspecialchars($_SERVER['TENANT']) ?></code>, PHP <?= PHP_VERSION ?>.</p>
