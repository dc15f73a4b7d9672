<?php
// Lists $_SERVER, one NAME=value a line.
header('Content-Type: text/plain; charset=utf-8');
ksort($_SERVER);
foreach ($_SERVER as $name => $value) {
    if (!is_array($value)) {
        echo "$name=$value\n";
    }
}
