<?php
// Leaves the sending to the proxy: ?header=NAME&value=VALUE, once or more (header[]=, value[]=).
$names = (array) $_GET['header'];
$values = (array) $_GET['value'];
foreach ($names as $i => $name) {
    header("$name: {$values[$i]}");
}
header('X-From: the application');
echo "the application's own body\n";
