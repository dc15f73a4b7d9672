<?php
header('Content-Type: text/plain');
foreach (['DOCUMENT_ROOT', 'SCRIPT_NAME', 'SCRIPT_FILENAME', 'PATH_TRANSLATED', 'REQUEST_URI'] as $name) {
    echo $name, '=', $_SERVER[$name] ?? '', "\n";
}
echo 'ORIGINAL_PATH_INFO=', $_SERVER['PATH_INFO'] ?? '', "\n", 'DIR=', __DIR__, "\n";
