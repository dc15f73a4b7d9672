<?php
// Tells what can be read from php://input, and the length that was announced.
header('Content-Type: text/plain');
$input = file_get_contents('php://input');
echo 'method=', $_SERVER['REQUEST_METHOD'], "\n";
echo 'announced=', $_SERVER['CONTENT_LENGTH'] ?? '', "\n";
echo 'length=', strlen($input), "\n";
echo 'sha256=', hash('sha256', $input), "\n";
echo 'encoding=', $_SERVER['HTTP_TRANSFER_ENCODING'] ?? 'none', "\n";
