<?php
header('Content-Type: text/plain');
echo 'title ', substr(parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH), strlen('/wiki/')), "\n";
