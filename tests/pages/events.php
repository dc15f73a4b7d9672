<?php
// An event stream: ?count=N events, ?pause=MS apart, each with the time at which it was sent.
header('Content-Type: text/event-stream');
for ($i = 0; $i < (int) $_GET['count']; $i++) {
    printf("data: %.6f\n\n", microtime(true));
    flush();
    usleep(1000 * (int) $_GET['pause']);
}
