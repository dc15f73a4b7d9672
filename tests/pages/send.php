<?php
// Leaves the sending to the proxy: ?header=NAME&value=VALUE, once or more (header[]=, value[]=).
// ?compress: as with zlib.output_compression in php.ini.
if (isset($_GET['compress'])) {
    ini_set('zlib.output_compression', '1');
}
$names = (array) $_GET['header'];
$values = (array) $_GET['value'];
foreach ($names as $i => $name) {
    header("$name: {$values[$i]}");
}
header('X-From: the application');
echo "the application's own body\n";
