<?php
usleep((int) (1e6 * min(10, (float) ($_GET['seconds'] ?? 0))));
?>
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>queue</title>
<h1>Done for <code><?= htmlspecialchars($_SERVER['SERVER_NAME']) ?></code></h1>
