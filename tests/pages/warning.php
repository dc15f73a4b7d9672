<?php
// Writes two messages to the error log and answers all the same.
error_log('first message');
error_log('second message');
echo "fine\n";
