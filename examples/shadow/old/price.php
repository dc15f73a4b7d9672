<?php
echo "0 == 'a': ", "yes", "\n";
