<?php
// The index of a folder.
echo "index of the folder\n";
