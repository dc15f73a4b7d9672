<?php
// Sends three pieces, each only when the file that the one before asked for is there: a reader that
// does not get them one by one never gets to the end. ?dir= is where the files appear.
header('Content-Type: text/event-stream');
for ($i = 1; $i <= 3; $i++) {
    echo "data: piece $i\n\n";
    flush();
    $deadline = microtime(true) + 10;
    while (!file_exists("{$_GET['dir']}/go$i")) {
        if (microtime(true) > $deadline) {
            echo "data: nobody saw piece $i\n\n";
            exit;
        }
        usleep(5000);
        clearstatcache();
    }
}
echo "data: end\n\n";
