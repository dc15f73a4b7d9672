<?php
header('Content-Type: text/plain');
echo 'route ', parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH), ' in ', getenv('APP_ENV') ?: $_SERVER['APP_ENV'], "\n";
