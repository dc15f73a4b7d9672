<?php
// Takes ?ms=N and brings back the token that it was given.
usleep(1000 * (int) ($_GET['ms'] ?? 0));
header('Content-Type: text/plain');
echo 'token=', $_GET['token'] ?? '', ";\n";
echo 'method=', $_SERVER['REQUEST_METHOD'], "\n";
