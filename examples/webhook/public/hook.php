<?php
// What came, as the application sees it.
header('Content-Type: text/plain');
$event = json_decode(file_get_contents('php://input'), true);
echo $_SERVER['HOOK_TARGET'], ' has got ', $event['action'] ?? 'nothing', "\n";
