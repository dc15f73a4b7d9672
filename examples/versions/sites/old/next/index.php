<?php
echo PHP_VERSION, " in ", getenv("POOL") ?: "?", "\n";
