<?php
session_start();
$_SESSION['visits'] = ($_SESSION['visits'] ?? 0) + 1;
header('Content-Type: text/plain');
echo 'visit ', $_SESSION['visits'], ' through ', $_SERVER['FRONT'], "\n";
