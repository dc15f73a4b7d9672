<?php
header('Content-Type: text/plain');
echo 'permalink ', $_SERVER['REQUEST_URI'], "\n";
