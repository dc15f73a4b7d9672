-- multiplex: an application that serves many requests at a time on one connection, such as one with
-- an event loop. Moongate needs one connection for each of its workers then. It is nothing for
-- PHP-FPM, whose processes serve one request at a time: there each request has its connection, and
-- "auto" finds that out.
--
--     curl 'http://127.0.0.1:8080/'
--     moongate status                         one connection, however many requests

return {
  listen = "127.0.0.1:8080",
  backends = {
    app = {
      servers = os.getenv("MOONGATE_APP") or "unix:/run/app/app.sock",
      profile = "generic", -- params by RFC 3875
      multiplex = "auto", -- true, where it is known that the application can
      max_reqs = 100, -- on one connection at the same time
      max_conns = 4, -- as many as there are workers, at least
    },
  },

  on_request = function()
    return { backend = "app", docroot = "/srv/app" }
  end,
}
