<?php
// Answers with ?code=N and a page of its own.
$code = (int) $_GET['code'];
if ($code === 418) {
    header("HTTP/1.1 418 I'm a teapot");
} else {
    http_response_code($code);
}
header('X-Page: own');
if ($code !== 304 && $code !== 204) {
    echo "the page for $code\n";
}
