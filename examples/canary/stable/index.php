<?php
header('Content-Type: text/plain');
echo "the release that everybody knows\n";
