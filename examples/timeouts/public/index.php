<?php
// max_execution_time counts what the script computes; what it waits for (sleep, a database) is not counted.
$end = microtime(true) + (float) ($_GET['seconds'] ?? 0);
while (microtime(true) < $end);
sleep((int) ($_GET['sleep'] ?? 0));
echo 'done, with ', ini_get('max_execution_time'), " s to go by\n";
