<?php
header("Content-Type: text/plain");
echo "front ", $_SERVER["REQUEST_URI"], "\n";
