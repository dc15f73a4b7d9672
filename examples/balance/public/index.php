<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>balance</title>
<h1>Answered by process <code><?= getmypid() ?></code></h1>
