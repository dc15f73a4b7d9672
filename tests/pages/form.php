<?php
// Lists the fields of a form, of the query and the cookies, as PHP has decoded them.
header('Content-Type: text/plain; charset=utf-8');
foreach (['get' => $_GET, 'post' => $_POST, 'cookie' => $_COOKIE] as $from => $fields) {
    foreach ($fields as $name => $value) {
        echo "$from $name=", is_array($value) ? implode('|', $value) : $value, "\n";
    }
}
