<?php
header('Content-Type: text/plain');
header('X-Method: ' . $_SERVER['REQUEST_METHOD']);
if ($_SERVER['REQUEST_METHOD'] === 'PROPFIND') {
    http_response_code(207);
}
echo $_SERVER['REQUEST_METHOD'], ' ', $_SERVER['PATH_INFO'] ?? '', ' ', $_SERVER['HTTP_DEPTH'] ?? '-', ' ',
    md5(file_get_contents('php://input')), "\n";
