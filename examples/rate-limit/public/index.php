<?php
header("Content-Type: text/plain");
echo $_SERVER["REQUEST_URI"], "\n";
