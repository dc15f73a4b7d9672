-- vhosts: one PHP for many virtual hosts, without a section for each: a host is a line of a table.
--
--     curl -H 'Host: one.localhost' http://127.0.0.1:8080/
--     curl -H 'Host: any.users.localhost' http://127.0.0.1:8080/
--
-- The name of a host comes from the client: a folder is chosen by it, never made of it.

local tenants = require("moongate.tenants")

return {
  listen = "127.0.0.1:8080",
  backends = {
    app = {
      servers = { os.getenv("MOONGATE_PHP") or "127.0.0.1:9000" },
      ini = { memory_limit = "128M" },
    },
  },

  on_request = tenants.site {
    root = "hosts/$tenant", backend = "app", front = "/index.php",
    tenants = {
      ["one.localhost"] = { tenant = "one" },
      ["www.one.localhost"] = "one.localhost",
      ["two.localhost"] = { tenant = "two", ini = { memory_limit = "64M" } },
      ["*.users.localhost"] = { tenant = "users" }, -- all of them are one site
    },
    default = { redirect = "http://one.localhost/" },
  },
}
