<?php
// Tells settings as they are for this request, one name=value a line: ?names=a,b. With ?die=memory
// it ends by the memory limit, with ?die=exit in the middle; ?ms=N takes its time.
usleep(1000 * (int) ($_GET['ms'] ?? 0));
header('Content-Type: text/plain');
foreach (explode(',', $_GET['names']) as $name) {
    echo $name, '=', ini_get($name), "\n";
}
if (isset($_GET['token'])) {
    echo 'token=', $_GET['token'], ";\n";
}
if (($_GET['die'] ?? '') === 'memory') {
    $all = str_repeat('x', 1 << 30);
} elseif (($_GET['die'] ?? '') === 'exit') {
    exit(3);
}
