<?php require 'index.php';
