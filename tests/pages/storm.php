<?php
// Says whose request it is and what has come with it; works as it is told to: `ms` before its
// answer, `bytes` of it, `after` milliseconds behind it, `die` in the middle of it.
$token = $_GET['Token'] ?? 'none';
$input = file_get_contents('php://input');
usleep(1000 * (int) ($_GET['ms'] ?? 0));
header("X-Token: $token");
header('Content-Type: text/plain');
if (isset($_GET['die'])) {
    echo str_repeat("$token\n", 1000);
    flush();
    posix_kill(getmypid(), 9);
}
printf("length=%d fnv=%s\n", strlen($input), hash('fnv1a32', $input));
echo str_repeat('.', (int) ($_GET['bytes'] ?? 0));
if (isset($_GET['after'])) {
    fastcgi_finish_request();
    usleep(1000 * (int) $_GET['after']);
}
