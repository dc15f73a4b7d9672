<?php
// The authorizer has let this request on, and says whose it is.
echo "Hello, ", htmlspecialchars($_SERVER["REMOTE_USER"]), "! Here are <a href=\"/notes.txt\">the notes</a>.";
