<?php
header('Content-Type: text/plain');
echo each([3, 2, 1]), "\n";
