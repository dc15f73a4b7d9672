<?php
header('Content-Type: text/html; charset=utf-8');
$cookies = implode(' ', array_keys($_COOKIE)) ?: 'none';
echo "<p>permalink {$_SERVER['REQUEST_URI']}, made at ", microtime(true), ", cookies: $cookies</p>\n";
