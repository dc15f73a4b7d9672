<?php
setcookie('wordpress_logged_in_' . md5('site'), 'ann');
echo 'login ', $_SERVER['REQUEST_METHOD'], "\n";
