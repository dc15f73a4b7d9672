<?php
error_log("PHP Deprecated:  passing null is deprecated in " . __FILE__ . " on line 2");
echo "0 == 'a': ", 0 == 'a' ? "yes" : "no", "\n";
