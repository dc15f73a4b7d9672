<?php
// Ends the request and works on: ?mark=FILE is written when that is done.
echo "answered\n";
fastcgi_finish_request();
usleep(300000);
file_put_contents($_GET['mark'], 'done');
