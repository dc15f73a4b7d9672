<?php
// Says which PHP was chosen, and what the web server in front has told of the visitor.
header('Content-Type: text/plain; charset=utf-8');
echo 'php: ', $_SERVER['CHOSEN_PHP'], ' (', PHP_VERSION, ")\n";
echo 'host: ', $_SERVER['HTTP_HOST'] ?? '', "\n";
echo 'visitor: ', $_SERVER['REMOTE_ADDR'] ?? 'unknown', "\n";
echo 'web server: ', $_SERVER['SERVER_SOFTWARE'], "\n";
