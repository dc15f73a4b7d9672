<?php
// Says in a file that it has run, for whom, and works as it is told to: before its answer
// (`mb`, megabytes that it uses) and after it (`after`, milliseconds).
file_put_contents($_SERVER['MARKS'], $_SERVER['REQUEST_MARK'] . "\n", FILE_APPEND);
$used = str_repeat('x', (int) ($_GET['mb'] ?? 0) << 20);
echo 'token=', $_GET['token'] ?? '', ";\n", strlen(file_get_contents('php://input')), "\n";
if (isset($_GET['after'])) {
    fastcgi_finish_request();
    usleep(1000 * (int) $_GET['after']);
}
