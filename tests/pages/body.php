<?php
// Answers with ?code=N and a body, whether that status may have one or not.
http_response_code((int) ($_GET['code'] ?? 200));
header('Content-Type: text/plain');
if (isset($_GET['length'])) {
    header('Content-Length: ' . $_GET['length']);
}
echo str_repeat("a body that may not be one\n", 500);
