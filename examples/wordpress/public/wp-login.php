<?php echo 'login ', $_SERVER['REQUEST_METHOD'], "\n";
