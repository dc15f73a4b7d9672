<?php
printf("PHP %s, pool %s, in %s below %s\n", PHP_VERSION, getenv("POOL") ?: "?", __DIR__,
    $_SERVER["DOCUMENT_ROOT"]);
