<?php
// Sends its process id, then a line every few milliseconds until nobody reads (or for 20 s).
header('Content-Type: text/plain');
echo getmypid(), "\n";
flush();
$deadline = microtime(true) + 20;
while (microtime(true) < $deadline) {
    usleep(5000);
    echo "and on\n";
    flush();
}
