<?php
header('Content-Type: text/plain');
echo implode(',', [3, 2, 1]), "\n";
