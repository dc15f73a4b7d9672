<?php
// Has one of each kind of message written: ?kinds=warning,notice,deprecated,log,exception.
function deep(string $what): void
{
    throw new LogicException($what);
}

foreach (explode(',', $_GET['kinds']) as $kind) {
    switch ($kind) {
        case 'warning':
            echo $undefined;
            break;
        case 'notice':
            trigger_error('a notice of ours; with a semicolon', E_USER_NOTICE);
            break;
        case 'deprecated':
            trigger_error('an old way', E_USER_DEPRECATED);
            break;
        case 'log':
            error_log('the application says so');
            break;
        case 'lines':
            error_log("first line\nsecond line");
            break;
        case 'exception':
            deep('nobody catches it');
    }
}
echo "done\n";
