<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>cluster</title>
<h1>The site <code><?= htmlspecialchars($_SERVER['TENANT']) ?></code></h1>
<p>Request <code><?= htmlspecialchars($_SERVER['COUNT']) ?></code>
of these ten seconds, through Moongate <code><?= htmlspecialchars($_SERVER['GATE']) ?></code>,
from PHP process <code><?= getmypid() ?></code>.</p>
