-- The 25 things that users of PHP behind a web server suffer from most, and the scenario that shows
-- each gone. A scenario that is renamed or lost fails here; one that fails says so itself.

local process = require("tests.support.process")



local PAINS = {
  { "'Primary script unknown', and no word why", {
    { "tests/integration/30-php_spec.lua", "explains a script that PHP does not find" },
    { "tests/integration/33-start_spec.lua", "is named in the log of the first request" },
  } },
  { "the docroot differs in PHP's container", {
    { "tests/integration/29-stderr_spec.lua", "has the paths of this machine, not the" },
    { "tests/integration/34-php-engine_spec.lua", "is named by X-Sendfile, as the" },
    { "spec/moongate/php_spec.lua", "docroot" },
  } },
  { "a sub-directory builds a doubled path", {
    { "spec/moongate/docroot_spec.lua", "takes whole segments off" },
    { "spec/moongate/php_spec.lua", "strip" },
  } },
  { "prefixes and encodings in SCRIPT_FILENAME", {
    { "tests/integration/30-php_spec.lua", "is decoded once" },
    { "tests/integration/22-http_spec.lua", "an encoded slash decodes before dot segments go" },
  } },
  { "a chunked upload arrives empty or hangs", {
    { "tests/integration/30-php_spec.lua", "that is chunked arrives whole, with its length" },
    { "tests/integration/34-php-engine_spec.lua", "gets chunked uploads with their length" },
  } },
  { "kept connections exhaust PHP-FPM", {
    { "tests/integration/27-queue_spec.lua", "counts kept connections, too, and of all workers" },
    { "tests/integration/27-queue_spec.lua", "of one worker are given up when another waits" },
    { "tests/integration/30-php_spec.lua", "is free again as soon as it has answered" },
  } },
  { "kept connections mix or delay replies", {
    { "tests/integration/34-php-engine_spec.lua", "that works on after fastcgi_finish_request" },
    { "tests/integration/34-php-engine_spec.lua", "keeps its connection in order after bodies" },
    { "tests/integration/24-attack_spec.lua", "behind an answer never become the next one" },
    { "tests/integration/20-fastcgi_spec.lua", "bytes came after END_REQUEST" },
  } },
  { "half a reply looks like a whole one", {
    { "tests/integration/21-failure_spec.lua", "is cut so that the client can tell: " },
    { "tests/integration/30-php_spec.lua", "that dies in the middle of a reply" },
    { "tests/integration/34-php-engine_spec.lua", "that is killed costs the one request" },
  } },
  { "'upstream sent too big header'", {
    { "tests/integration/20-fastcgi_spec.lua", "may have a head of up to response_header" },
    { "tests/integration/39-recovery_spec.lua", "too_large" },
  } },
  { "the Authorization header is lost", {
    { "tests/integration/30-php_spec.lua", "has Authorization, and PHP's own parts of it" },
  } },
  { "an event stream does not reach the browser", {
    { "tests/integration/35-big_spec.lua", "reaches the browser within milliseconds" },
    { "tests/integration/35-big_spec.lua", "holds it where there is to be no buffer" },
    { "tests/integration/30-php_spec.lua", "comes at once, piece by piece" },
  } },
  { "a deploy by symlink goes on serving old code", {
    { "tests/integration/24-attack_spec.lua", "a symlink below the root" },
    { "tests/integration/34-php-engine_spec.lua", "serves the new code within a second or so" },
  } },
  { "the backend's address changes, and it is 502 until a reload", {
    { "tests/integration/38-names_spec.lua", "is asked for again: a new address gets the next" },
    { "tests/integration/38-names_spec.lua", "is asked for at once after a failed connect" },
    { "tests/integration/38-names_spec.lua", "keeps its last addresses when the DNS server dies" },
  } },
  { "PATH_INFO runs uploads, or is lost", {
    { "tests/integration/30-php_spec.lua", "are not run as scripts by a made up PATH_INFO" },
    { "tests/integration/30-php_spec.lua", "is split into script and PATH_INFO" },
  } },
  { "a .php file is downloaded as source", {
    { "tests/integration/30-php_spec.lua", "are never the source of a script" },
  } },
  { "headers are smuggled by _ and .", {
    { "tests/integration/20-fastcgi_spec.lua", "never carry what a client must not set" },
    { "tests/integration/24-attack_spec.lua", "a header that no application gets" },
  } },
  { "HTTPS and the address of the client behind a balancer", {
    { "tests/integration/24-attack_spec.lua", "is not told of HTTPS by a target that merely says" },
  } },
  { "PHP-FPM is full: EAGAIN, 502, or endless waiting", {
    { "tests/integration/34-php-engine_spec.lua", "at its socket (EAGAIN) is waited for" },
    { "tests/integration/27-queue_spec.lua", "is waited in for queue_timeout, then it is 503" },
    { "tests/integration/27-queue_spec.lua", "that is full is 503 with Retry-After" },
    { "tests/integration/21-failure_spec.lua", "of a unix socket that gets free in time" },
  } },
  { "an upgrade of PHP-FPM drops requests", {
    { "tests/integration/34-php-engine_spec.lua", "fails no request: " },
    { "tests/integration/27-queue_spec.lua", "under load fails nobody, and nothing reaches" },
  } },
  { "health checks are wrong or missing", {
    { "tests/integration/37-health_spec.lua", "speaks FastCGI, and never merely connects" },
    { "tests/integration/34-php-engine_spec.lua", "with our own requests is not dead" },
  } },
  { "PHP_VALUE sticks to the child and leaks to the next site", {
    { "tests/integration/34-php-engine_spec.lua", "are its own, whoever had the child before" },
    { "tests/integration/34-php-engine_spec.lua", "are its own after a request that died" },
    { "tests/integration/34-php-engine_spec.lua", "has the backend's settings, and may bring" },
    { "tests/integration/34-php-engine_spec.lua", "stays in PHP-FPM, of which the operator" },
    { "tests/integration/21-failure_spec.lua", "php_value" },
  } },
  -- 22, a reload and its state, is not of the back side.
  { "the balancer's hook can't resolve names", {
    { "tests/integration/28-balance_spec.lua", "is asked again for the next attempt" },
    { "tests/integration/38-names_spec.lua", "with two addresses is two servers" },
  } },
  -- 24, testing scripts, and 25, several versions of PHP, neither; of 25 there is this:
  { "one PHP that is stuck takes the others down", {
    { "tests/integration/34-php-engine_spec.lua", "does not make another pool slow" },
  } },
  { "a retry doubles a POST", {
    { "tests/integration/27-queue_spec.lua", "never make it see a POST twice" },
    { "tests/integration/39-recovery_spec.lua", "that may have been acted on is never" },
  } },
}

describe("the pain", function()
  for _, pain in ipairs(PAINS) do
    it(("%q has a scenario"):format(pain[1]), function()
      assert.is_true(#pain[2] > 0)
      for _, scenario in ipairs(pain[2]) do
        local text = process.read_file(scenario[1])
        assert.is_truthy(text, scenario[1])
        assert.is_truthy(text:find(scenario[2], 1, true), scenario[1] .. ": " .. scenario[2])
      end
    end)
  end
end)
