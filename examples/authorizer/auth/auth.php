<?php
// Asked before every request to the site. With 200 the request goes on, and Variable-REMOTE_USER
// names the user to the application and to the access log. Any other status is the client's answer.

const USERS = ["ann" => "moon", "ben" => "gate"]; // an application has hashes of them
const SECRET = "a secret of this example";

function session(string $name): string
{
    return $name . "." . hash_hmac("sha256", $name, SECRET);
}

$name = explode(".", $_COOKIE["session"] ?? "")[0];
if ($name !== "" && hash_equals(session($name), $_COOKIE["session"])) {
    header("Variable-REMOTE_USER: $name");
    exit;
}

$name = (string) ($_GET["name"] ?? "");
if (isset(USERS[$name]) && hash_equals(USERS[$name], (string) ($_GET["password"] ?? ""))) {
    setcookie("session", session($name), ["path" => "/", "httponly" => true, "samesite" => "Lax"]);
    header("Location: /", true, 303);
    exit;
}

http_response_code(401);
echo '<!doctype html><title>Log in</title><form action="/"><h1>Log in</h1>',
    '<p><input name="name"> <input name="password" type="password"> <button>Go</button></form>';
