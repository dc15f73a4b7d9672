<?php
// Headers of several kinds: repeated, empty, long.
setcookie('a', '1');
setcookie('b', '2', ['httponly' => true]);
header('X-Empty:');
header('X-Long: ' . str_repeat('x', (int) ($_GET['long'] ?? 100)));
header('Connection: close, X-Secret');
header('Cache-Control: private, max-age=60');
echo "ok\n";
