<?php
header("Content-Type: text/plain");
echo "two: ", $_SERVER["SERVER_NAME"], " from ", basename($_SERVER["DOCUMENT_ROOT"]), " with ", ini_get("memory_limit"), "\n";
