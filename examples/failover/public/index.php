<?php
header('Content-Type: text/plain');
echo 'process ', getmypid(), "\n";
