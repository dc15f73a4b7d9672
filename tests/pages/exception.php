<?php
// Dies of an exception that nobody catches.
function deep(): void
{
    throw new RuntimeException('the moon is not available');
}

deep();
