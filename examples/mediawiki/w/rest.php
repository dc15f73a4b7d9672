<?php
header("Content-Type: application/json");
echo json_encode(["rest" => $_SERVER["PATH_INFO"] ?? ""]), "\n";
