<?php
printf("%s for %s, in %s below %s\n", $_SERVER["REQUEST_URI"], $_SERVER["REMOTE_ADDR"], __DIR__,
    $_SERVER["DOCUMENT_ROOT"]);
