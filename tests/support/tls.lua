-- Certificates for tests, made by the openssl command in a folder of their own, and its client.
--
--   local ca = tls.authority()
--   local pair = ca:issue({ "shop.example", "*.shop.example" })    -- { cert = PATH, key = PATH }
--   local said = tls.client(address, { "-tls1_2" }, "GET / HTTP/1.0\r\n\r\n")

local clock = require("tests.support.clock")
local process = require("tests.support.process")

local tls = {}

local Authority = {}
Authority.__index = Authority

local function run(argv, input, timeout, env)
  return process.run({ argv = argv, input = input, env = env }, timeout or 60)
end

local function openssl(argv, env)
  local result = run({ "openssl", unpack(argv) }, nil, nil, env)
  assert(result.code == 0, table.concat(argv, " ") .. "\n" .. result.stderr)
  return result.stdout
end

local KEYS = {
  ec = { "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256" },
  rsa = { "-newkey", "rsa:2048" },
  small = { "-newkey", "rsa:1024" },
}

local function join(...)
  local all = {}
  for _, list in ipairs({ ... }) do
    for _, word in ipairs(list) do
      all[#all + 1] = word
    end
  end
  return all
end

--- A private authority; its certificate is in `ca.cert`.
function tls.authority(name)
  local dir = process.tempdir("tls")
  local self = setmetatable({
    dir = dir, cert = dir .. "/ca.pem", key = dir .. "/ca.key", count = 0,
  }, Authority)
  openssl(join({ "req", "-x509" }, KEYS.ec, { "-nodes", "-days", "30", "-keyout", self.key, "-out",
    self.cert, "-subj", "/CN=" .. (name or "Test CA") }))
  return self
end

--- A pair for these names. options: key ("ec", "rsa", "small"), subject, days (how long it is
--- valid), expired (it was valid until yesterday), extensions (lines), to (paths of another pair
--- that it replaces).
function Authority:issue(names, options)
  options = options or {}
  self.count = self.count + 1
  local base = ("%s/%d"):format(self.dir, self.count)
  local pair = options.to or { cert = base .. ".pem", key = base .. ".key" }
  local list = {}
  for i, name in ipairs(names) do
    list[i] = "DNS:" .. name
  end
  openssl(join({ "req", "-new" }, KEYS[options.key or "ec"], { "-nodes", "-keyout",
    pair.key .. ".new", "-out", base .. ".csr", "-subj", options.subject or "/CN=" .. names[1] }))
  process.write_file(base .. ".ext", "subjectAltName = " .. table.concat(list, ",") .. "\n"
    .. (options.extensions or ""))
  local days = options.expired and 1 or options.days or 30
  local before = options.expired and { LD_PRELOAD = clock.library(), FAKETIME = "-2d" } or nil
  openssl({ "x509", "-req", "-in", base .. ".csr", "-CA", self.cert, "-CAkey", self.key,
    "-set_serial", tostring(1000 + self.count), "-days", tostring(days), "-extfile", base .. ".ext",
    "-out", pair.cert .. ".new" }, before)
  assert(os.rename(pair.key .. ".new", pair.key) and os.rename(pair.cert .. ".new", pair.cert))
  return pair
end

--- What `openssl s_client` prints when it sends these bytes and waits for the end.
function tls.client(address, args, bytes, timeout)
  local result = run(join({ "openssl", "s_client", "-connect", address, "-ign_eof" }, args or {}),
    bytes or "GET / HTTP/1.0\r\n\r\n", timeout)
  return result.stdout .. result.stderr, result.code
end

local function number(bytes, n)
  local text = ""
  for _ = 1, bytes do
    text, n = string.char(n % 256) .. text, math.floor(n / 256)
  end
  return text
end

local function vector(size, text)
  return number(size, #text) .. text
end

local function extension(kind, text)
  return number(2, kind) .. vector(2, text)
end

--- The first bytes of a client of TLS 1.2, or of another version ("\3\0" is SSL 3), for a test that
--- sends them itself.
function tls.hello(name, version)
  local extensions = extension(0, vector(2, "\0" .. vector(2, name)))
    .. extension(10, vector(2, number(2, 29) .. number(2, 23))) -- X25519, P-256
    .. extension(11, vector(1, "\0"))
    .. extension(13, vector(2, number(2, 0x0403) .. number(2, 0x0804) .. number(2, 0x0401)))
  local body = (version or "\3\3") .. ("r"):rep(32) .. "\0"
    .. vector(2, number(2, 0xc02b) .. number(2, 0xc02f)) .. "\1\0" .. vector(2, extensions)
  return "\22\3\1" .. vector(2, "\1" .. vector(3, body))
end

--- curl's answer: body, and what else it wrote with -w.
function tls.curl(args, timeout)
  local result = run({ "curl", "-sS", "--noproxy", "*", "--max-time", tostring(timeout or 60),
    unpack(args) })
  return result.stdout, result.code, result.stderr
end

--- The text of a route's `tls`.
function tls.setting(pair, more)
  return ("{ cert = %q, key = %q, %s }"):format(pair.cert, pair.key, more or "")
end

return tls
