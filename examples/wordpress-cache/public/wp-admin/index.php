<?php
if ($_SERVER['REQUEST_METHOD'] === 'POST') { // as the plugin says it when /2026/01/hello-world/ is published
    header('X-Cache-Purge: tag:page: tag:page:/2026/01/hello-world');
}
echo "dashboard\n";
