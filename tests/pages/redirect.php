<?php
// Sends the browser elsewhere: ?to=URL, and ?status=N for another than 302.
header('Location: ' . $_GET['to'], true, (int) ($_GET['status'] ?? 302));
echo "moved\n";
