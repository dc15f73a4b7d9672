<?php
http_response_code((int) ($_GET['status'] ?? 200));
usleep((int) (1e6 * min(10, (float) ($_GET['seconds'] ?? 0))));
if (isset($_GET['deprecated'])) {
    error_log('PHP Deprecated:  an old way in ' . __FILE__ . ' on line ' . __LINE__);
}
if (isset($_GET['warning'])) {
    error_log('PHP Warning:  a new problem in ' . __FILE__ . ' on line ' . __LINE__);
}
?>
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>errors</title>
<h1>A page of the application</h1>
