<!DOCTYPE html>
<title>Moongate</title>
<p>This page was made by PHP <?= PHP_VERSION ?>, behind <?= htmlspecialchars($_SERVER['SERVER_SOFTWARE']) ?>.
