<?php
// The smallest page.
echo "Hello from PHP\n";
