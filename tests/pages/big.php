<?php
// ?bytes=N of a known pattern, without Content-Length unless ?length=1.
$left = (int) $_GET['bytes'];
header('Content-Type: application/octet-stream');
if (isset($_GET['length'])) {
    header("Content-Length: $left");
}
$block = str_repeat('0123456789abcdef', 4096);
while ($left > 0) {
    $piece = min($left, strlen($block));
    echo substr($block, 0, $piece);
    $left -= $piece;
}
