<?php
echo "made at ", hrtime(true), "\n";
