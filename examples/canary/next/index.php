<?php
header('Content-Type: text/plain');
if (isset($_GET['fail'])) {
    http_response_code(500);
}
echo "the next release\n";
