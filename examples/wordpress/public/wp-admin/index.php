<?php echo "dashboard\n";
