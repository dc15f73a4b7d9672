<?php
// Tells what has arrived of an uploaded file and of the field beside it.
header('Content-Type: text/plain; charset=utf-8');
$file = $_FILES['file'] ?? null;
if ($file === null || $file['error'] !== UPLOAD_ERR_OK) {
    http_response_code(400);
    echo 'error=', $file['error'] ?? 'no file', "\n";
    exit;
}
echo 'name=', $file['name'], "\n";
echo 'type=', $file['type'], "\n";
echo 'size=', filesize($file['tmp_name']), "\n";
echo 'sha256=', hash_file('sha256', $file['tmp_name']), "\n";
echo 'title=', $_POST['title'] ?? '', "\n";
