<?php
// Ends the request and works on: ?mark=FILE is written when that is done, after a moment, or once
// there is the file ?until=FILE.
echo "answered\n";
fastcgi_finish_request();
usleep(300000);
for ($i = 0; isset($_GET['until']) && !file_exists($_GET['until']) && $i < 6000; $i++) {
    clearstatcache();
    usleep(10000);
}
file_put_contents($_GET['mark'], 'done');
