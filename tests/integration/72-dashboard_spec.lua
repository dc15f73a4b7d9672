-- The dashboard in a real browser: what it shows of a real instance, what its buttons do, and that
-- it asks nobody else for anything.

local chromium = require("tests.support.chromium")
local http = require("tests.support.http")
local json = require("moongate.base.json")
local net = require("tests.support.net")
local poll = require("tests.support.poll")
local process = require("tests.support.process")
local responder = require("tests.support.responder")
local rig = require("tests.support.rig")
local server = require("tests.support.server")

-- What a client may put into a host, and so into the name of a tenant.
local HOSTILE = '<img src=x onerror="hacked=1"><script>hacked=1</script>'

local BEFORE = [[
local split = require("moongate.canary").split {
  name = "next", share = "10%", stable = { status = 200, body = "old" },
  canary = { status = 200, body = "new" },
}
local HOSTILE = ]] .. ("%q"):format(HOSTILE)

local ON_REQUEST = [[
if req.path == "/split" then return split(req) end
if req.args.Tenant then return { backend = "app", docroot = "/srv/app", tenant = HOSTILE } end
if req.args.Unknown then return { backend = "app", docroot = "/srv/app", tenant = "first" } end
if req.path == "/kept" then
  return { backend = "app", docroot = "/srv/app", cache = { ttl = "1h" }, compress = true }
end
if req.path == "/wrong" then error("a fault of the script") end]]

--- The lowest contrast of a text and what lies behind it, as WCAG 2 counts it, and that text.
local CONTRAST = [[(() => {
  const light = (rgb) => rgb.map((c) => c / 255)
    .map((c) => c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const parts = (colour) => colour.match(/[\d.]+/g).map(Number);
  let least = [99, ""];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.getClientRects().length) continue;
    let behind = element, back;
    do back = parts(getComputedStyle(behind).backgroundColor);
    while (back[3] === 0 && (behind = behind.parentElement));
    const front = parts(getComputedStyle(element).color);
    const [a, b] = [light(front.slice(0, 3)), light(back.slice(0, 3))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < least[0]) least = [ratio, element.textContent];
  }
  return least;
})()]]

describe("the dashboard", function()
  local r, other, page, control
  local function backend()
    return json.decode(http.get(control, "/backends?name=app").body)
  end

  --- An expression of the tile of a server.
  local function tile(address, rest)
    return ("[...document.querySelectorAll('#backends li')].find((t) => t.children[0].textContent "
      .. "=== %s)%s"):format(json.encode(address), rest)
  end

  local function button(label)
    return ("document.querySelector('button[aria-label=%s]')"):format(json.encode(label))
  end

  --- The texts of a table's row in which a cell has that text, with ; between them.
  local function row(body, text)
    return ("((t) => t && [...t.cells].map((c) => c.textContent).join(';'))([...document."
      .. "querySelectorAll('#%s tr')].find((t) => [...t.cells].some((c) => (c.textContent + ',')"
      .. ".startsWith(%s + ',') || c.textContent === %s)))"):format(body, json.encode(text),
      json.encode(text))
  end

  setup(function()
    control = "127.0.0.1:" .. net.free_port()
    other = responder.start()
    r = rig.start({
      before = BEFORE, on_request = ON_REQUEST, workers = 2, args = { "--control", control },
      backend = "max_fails = 1, fail_timeout = '1h', attempts = 1, retry = 'never'",
      servers = function(addresses)
        return ("%q, %q"):format(addresses[1], other.address)
      end,
    })
    page = chromium.open("http://" .. control .. "/")
    page:wait("document.documentElement.dataset.polls > 1")
  end)
  teardown(function()
    if page then
      page:close()
    end
    if r then
      r:stop()
    end
    if other then
      other:stop()
    end
  end)

  it("loads, and is updated under load", function()
    assert.equal("1", page:eval("document.getElementById('generation').textContent"))
    assert.same({ "● up", "● up" }, page:eval(
      "[...document.querySelectorAll('#backends li')].map((t) => t.children[1].textContent)"))
    local sent = 0
    page:wait("parseFloat(document.getElementById('rate').textContent)", function(rate)
      sent = sent + 1
      assert.equal(200, r:get("body=x").status)
      return rate > 0
    end)
    page:wait(("[%s, %s]"):format(tile(r.back.address, ".querySelectorAll('dd')[5].textContent"),
      tile(other.address, ".querySelectorAll('dd')[5].textContent")), function(counts)
      return counts[1] + counts[2] == sent
    end)
    page:wait("document.getElementById('p99').textContent.endsWith('s')")
  end)

  it("drains a server, and takes it back, by keyboard", function()
    local name = r.back.address
    page:eval(button("Drain " .. name .. " of app") .. ".focus()")
    page:press("Enter")
    page:wait(tile(name, ".dataset.state"), function(state)
      return state == "draining"
    end)
    assert.is_true(backend().servers[1].draining)
    assert.equal("◐ drained", page:eval(tile(name, ".children[1].textContent")))
    assert.matches(name .. " is drained", page:eval(
      "document.getElementById('problems').textContent"), 1, true)
    page:wait("document.getElementById('said').textContent", function(text)
      return text == "Drain " .. name .. " of app: done"
    end)
    -- The same button, which has kept the focus.
    assert.equal("Take back " .. name .. " of app",
      page:eval("document.activeElement.getAttribute('aria-label')"))
    page:press(" ")
    page:wait(tile(name, ".dataset.state"), function(state)
      return state == "up"
    end)
    assert.is_false(backend().servers[1].draining)
  end)

  it("holds a backend, shows its queue, and resumes it", function()
    page:eval(button("Hold app") .. ".click()")
    page:wait("document.querySelector('[data-held=true]')?.textContent", function(text)
      return text and text:find("held: new requests wait", 1, true)
    end)
    assert.is_true(backend().held)
    local client = http.open(r.address)
    client:send({ path = rig.target("body=x") })
    page:wait("document.querySelector('#backends meter').value === 1")
    page:eval(button("Resume app") .. ".click()")
    assert.equal(200, client:receive().status)
    client:close()
    page:wait("document.querySelector('[data-held=false]') !== null")
    assert.is_false(backend().held)
  end)

  it("sets the share of a canary", function()
    assert.equal("10%", page:wait("document.getElementById('value-canary.next').value"))
    page:eval("document.getElementById('value-canary.next').value = '35%'; "
      .. button("Set canary.next") .. ".click()")
    page:wait("document.querySelector('#values b').textContent", function(text)
      return text == "35%"
    end)
    assert.equal("35%", json.decode(http.get(control, "/status").body).values["canary.next"])
    page:eval("document.getElementById('value-canary.next').value = 'x'; "
      .. button("Set canary.next") .. ".click()")
    page:wait("document.getElementById('said').textContent", function(text)
      return text:find("canary.next: expected", 1, true)
    end)
    page.complaints = {} -- the browser's own line about the 400
  end)

  it("puts hostile names in as text", function()
    page:wait("document.getElementById('tenants').textContent", function(text)
      assert.equal(200, r:get("Tenant&body=x").status)
      return text:find(HOSTILE, 1, true)
    end)
    assert.same({ "undefined", 0 }, page:eval("[typeof hacked, document.images.length]"))
  end)

  it("reloads, and shows the line of what is wrong", function()
    local before = process.read_file(r.server.route_path)
    r.server:rewrite(before .. "\nreturn }\n")
    page:eval("document.getElementById('reload').click()")
    page:wait("document.getElementById('said').textContent", function(text)
      return text:find("Reload: failed: .*route%.lua:%d+:")
    end)
    page:wait("document.getElementById('last-error').textContent", function(text)
      return text:find("route%.lua:%d+:")
    end)
    assert.matches("^✕ holds;reload;.*route%.lua:%d+: .*;1;", page:eval(row("errors", "reload")))
    assert.matches("the last load failed %(reload%): .*route%.lua:%d+: ", page:eval(
      "document.getElementById('problems').textContent"))
    r.server:rewrite(before)
    page:eval("document.getElementById('reload').click()")
    page:wait("document.getElementById('said').textContent", function(text)
      return text == "Reload: generation 2 serves"
    end)
    page:wait("document.getElementById('generation').textContent.startsWith('2')")
    page:wait(row("errors", "reload"), function(text)
      return text:find("^○ over;")
    end)
    assert.is_true(page:eval("document.getElementById('last-error').hidden"))
    http.get(r.address, "/wrong")
    page:wait("[...document.querySelectorAll('#hooks tr')].find((t) => t.cells[0].textContent === "
      .. "'on_request').cells[3].textContent === '1'")
  end)

  it("shows an error of a hook with its line, until a generation without it serves", function()
    http.get(r.address, "/wrong")
    page:wait(row("errors", "on_request"), function(text)
      return text and text:find("^✕ holds;on_request, generation 2;.*route%.lua:%d+: a fault of "
        .. "the script;%d;")
    end)
    page:wait("document.getElementById('errors-note').textContent === '1 of 2 hold still.'")
    assert.equal(0, server.command({ "reload", "--control", control }).code)
    page:wait(row("errors", "on_request"), function(text)
      return text:find("^○ over;on_request, generation 2;")
    end)
    page:wait("document.getElementById('errors-note').textContent === "
      .. "'None of them holds any more.'")
  end)

  it("lists generations, and goes back to one by keyboard", function()
    assert.matches("^3 ▸ serves;.*;serving: reload;%x+;$",
      page:wait(row("generations", "3 ▸ serves")))
    assert.matches("^–;.*;failed: reload: .*route%.lua:%d+: .*;;$",
      page:eval(row("generations", "–")))
    page:eval(button("Roll back to generation 1") .. ".focus()")
    page:press("Enter")
    page:wait("document.getElementById('said').textContent", function(text)
      return text == "Rollback to generation 1: generation 4 serves"
    end)
    page:wait(row("generations", "4 ▸ serves"), function(text)
      return text and text:find(";serving: rollback to 1;", 1, true)
    end)
    assert.equal(1, json.decode(http.get(control, "/status").body).kept_from)
    assert.matches("generation 4 has the files of generation 1", page:eval(
      "document.getElementById('problems').textContent"), 1, true)
    -- The one that serves has no button, one that failed neither.
    assert.is_true(page:eval(button("Roll back to generation 4") .. " === null"))
    assert.equal(3, page:eval("document.querySelectorAll('#generations button').length"))
  end)

  it("shows the requests that are served, and ends one", function()
    local client = http.open(r.address)
    client:send({ path = rig.target("delay=hold&body=x") })
    page:wait(row("requests", "waiting"), function(text)
      return text and text:find("^waiting;[%d.]+ m?s;127%.0%.0%.1;GET .*;app, .*;0 B;Kill$")
    end)
    page:eval("document.querySelector('#requests button').focus()")
    assert.matches("^Kill request %x+, GET ", page:eval(
      "document.activeElement.getAttribute('aria-label')"))
    page:press("Enter")
    assert.equal(503, client:receive().status)
    client:close()
    page:wait("document.getElementById('said').textContent", function(text)
      return text:find("^Kill GET .*: done$")
    end)
    page:wait("document.getElementById('requests').children.length === 0")
    assert.equal("None at the moment.",
      page:eval("document.getElementById('requests-note').textContent"))
  end)

  it("shows scripts of applications by time and errors, and their last messages", function()
    local path = "/" .. HOSTILE:gsub("[^%w]", function(c) return ("%%%02X"):format(c:byte()) end)
    http.get(r.address, path .. ".php?body=x&delay=50")
    for i = 1, 3 do
      r:get("body=x&stderr=" .. i)
    end
    r:get("status=500&body=x")
    local name = page:wait("[...document.querySelectorAll('#scripts tr')].map((t) => "
      .. "t.cells[0].textContent).find((t) => !t.includes('img'))")
    page:wait(row("scripts", name), function(text)
      local errors, messages = text:match(";(%d+);(%d+);%d+$")
      return tonumber(errors) >= 1 and tonumber(messages) >= 3
    end)
    -- Of those that took time lately the slowest is first, and its name is text.
    page:wait("document.querySelector('#scripts td').textContent", function(text)
      return text == "/srv/app/" .. HOSTILE .. ".php"
    end)
    page:wait(row("messages", name), function(text)
      return text and text:find(";3;[^;]+$")
    end)
    assert.same({ "undefined", 0 }, page:eval("[typeof hacked, document.images.length]"))
  end)

  it("shows the load of tenants", function()
    local clients = {}
    for i = 1, 2 do
      clients[i] = http.open(r.address)
      clients[i]:send({ path = rig.target("Tenant&delay=hold&body=x") })
    end
    page:wait(row("tenants", HOSTILE), function(text)
      return text:sub(#HOSTILE + 1):find("^;2;0;")
    end)
    poll.wait(function() -- either of the two servers may hold either of the two
      r.back.process:kill("USR2")
      other.process:kill("USR2")
      local load = 0
      for _, one in ipairs(json.decode(http.get(control, "/status").body).tenants) do
        load = load + one.active
      end
      return load == 0
    end, "the end of both requests")
    for _, client in ipairs(clients) do
      assert.equal(200, client:receive().status)
      client:close()
    end
    page:wait(row("tenants", HOSTILE), function(text)
      return text:sub(#HOSTILE + 1):find("^;0;0;")
    end)
  end)

  it("shows the load of tenants that are not listed yet as other", function()
    local client = http.open(r.address)
    client:send({ path = rig.target("Unknown&delay=hold&body=x") })
    page:wait(row("tenants", "other"), function(text)
      return text and text:find("^other;1;0;")
    end)
    poll.wait(function()
      r.back.process:kill("USR2")
      other.process:kill("USR2")
      for _, one in ipairs(json.decode(http.get(control, "/status").body).tenants) do
        if one.name == "other" then
          return one.active == 0
        end
      end
      return true
    end, "the end of the request")
    assert.equal(200, client:receive().status)
    client:close()
    page:wait(row("tenants", "first"), function(text)
      return text and text:find("^first;0;0;")
    end)
  end)

  it("shows what the cache and compression have done", function()
    local function texts(id)
      return page:eval(("[...document.querySelectorAll('#%s dd')].map((d) => d.textContent)")
        :format(id))
    end
    assert.same({ true, true }, page:eval("[document.getElementById('cache-part').hidden, "
      .. "document.getElementById('compression-part').hidden]"))
    local function ask()
      return http.request(r.address, { path = "/kept?type=text/html&size=40000",
        headers = { ["Accept-Encoding"] = "gzip" } })
    end
    assert.equal("gzip", ask().headers["content-encoding"])
    page:wait("document.getElementById('cache-share').textContent", function(text)
      assert.equal(200, ask().status)
      return text:find("^%d+%.%d %%$") and text ~= "0.0 %"
    end)
    page:wait("document.querySelectorAll('#cache-counts dd')[1].textContent > 0")
    assert.matches("^%d+%.%d %%$", texts("cache-counts")[1])
    local kept = texts("cache-kept")
    assert.same({ "1", "0", "0" }, { kept[1], kept[5], kept[6] })
    assert.matches("^%d+ kB of 64%.0 MB$", kept[3])
    assert.is_true(page:eval("document.getElementById('cache-size').value > 0"))
    page:wait(row("compression", "gzip"), function(text)
      return text and text:find("^gzip;%d+;[%d.]+ [kM]?B;[%d.]+ [kM]?B;%d+%.%d %%$")
    end)
  end)

  it("shows a server that has died with the second poll at the latest", function()
    page:eval(("window.seen = null; new MutationObserver(() => { const state = %s; "
      .. "if (state === 'failed' && seen === null) seen = +document.documentElement.dataset.polls; "
      .. "}).observe(document.getElementById('backends'), { subtree: true, attributes: true })")
      :format(tile(other.address, ".dataset.state")))
    other:stop()
    poll.wait(function()
      r:get("body=x")
      return not backend().servers[2].up
    end, "the failure of a server")
    local polls = page:eval("+document.documentElement.dataset.polls")
    local seen = page:wait("window.seen")
    assert.is_true(seen <= polls + 2, ("poll %s, and at poll %s it was down"):format(seen, polls))
    assert.matches(other.address .. " is down: it has failed too often",
      page:eval("document.getElementById('problems').textContent"), 1, true)
    other = nil
  end)

  it("can be read on a phone, in the dark and by a screen reader", function()
    for _, view in ipairs({ { 1280, "light" }, { 1280, "dark" }, { 360, "light" } }) do
      page:view(view[1], 800, view[2])
      page:wait(("matchMedia('(prefers-color-scheme: %s)').matches"):format(view[2]))
      local least = page:eval(CONTRAST)
      assert.is_true(least[1] >= 4.5, ("%s: %s"):format(view[2], table.concat(least, " ")))
      assert.is_true(page:eval("document.documentElement.scrollWidth <= innerWidth"))
    end
    -- By Tab alone all that can be used is reached, and what has the focus can be seen.
    page:view(1280, 800)
    page:eval("document.activeElement.blur()")
    local count = page:eval("[...document.querySelectorAll('button, input, [tabindex]')]"
      .. ".filter((e) => e.getClientRects().length).length")
    local reached, seen = 0, {}
    for _ = 1, 3 * count do
      page:press("Tab")
      local name, outline = unpack(page:eval("((e) => e === document.body ? ['', ''] : "
        .. "[e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.id "
        .. "|| e.textContent, getComputedStyle(e).outlineStyle])(document.activeElement)"))
      if name ~= "" and not seen[name] then
        reached, seen[name] = reached + 1, true
        assert.equal("solid", outline, name)
      end
      if reached == count then
        break
      end
    end
    assert.equal(count, reached)
    -- Each has a name, and names that are the same to the ear are one thing.
    local names = page:eval("[...document.querySelectorAll('button, input, meter, section, table')]"
      .. ".filter((e) => e.getClientRects().length).map((e) => e.getAttribute('aria-label') || "
      .. "(e.labels && e.labels[0] && e.labels[0].textContent) || e.textContent)")
    local known = {}
    for _, name in ipairs(names) do
      assert.is_true(#name > 0)
      assert.is_nil(known[name], name)
      known[name] = true
    end
    assert.equal(1, page:eval("document.querySelectorAll('[aria-live]').length"))
  end)

  it("complains of nothing, and asks for nothing elsewhere", function()
    assert.same({}, page.complaints)
    for _, url in ipairs(page.urls) do
      assert.equal("http://" .. control .. "/", url:sub(1, #control + 8))
    end
    assert.is_true(#page.urls > 4)
    local res = http.request(control, { headers = { Accept = "text/html" } })
    assert.matches("default-src 'none'; script-src 'sha256-",
      res.headers["content-security-policy"], 1, true)
    assert.is_nil(res.body:find("https?://%w"))
  end)
end)

describe("the dashboard behind a token", function()
  it("asks for it, and keeps it in the tab alone", function()
    local token, dir = "operator-0123456789abcdef", process.tempdir("token")
    process.write_file(dir .. "/token", token)
    local control = "127.0.0.1:" .. net.free_port()
    local r = rig.start({ args = { "--control", control, "--token-file", dir .. "/token" } })
    finally(function() r:stop() end)
    local page = chromium.open("http://" .. control .. "/")
    finally(function()
      page:close()
      r:stop()
    end)
    page:wait("document.activeElement.id === 'token-text'")
    assert.is_true(page:eval("document.getElementById('all').hidden"))
    assert.same({}, page.complaints)
    page:eval("document.getElementById('token-text').value = 'wrong-0123456789abcdef'; "
      .. "document.querySelector('#token button').click()")
    page:wait("document.getElementById('said').textContent", function(text)
      return text == "the token in 'Authorization' is not this listener's"
    end)
    page:call("Input.insertText", { text = token })
    page:press("Enter")
    page:wait("document.documentElement.dataset.polls > 1")
    assert.is_false(page:eval("document.getElementById('all').hidden"))
    assert.is_true(page:eval("document.getElementById('token').hidden"))
    -- It acts with it, and another load of the page has it still.
    page:eval("document.querySelector('button[aria-label=\"Hold app\"]').click()")
    page:wait("document.querySelector('[data-held=true]') !== null")
    page:eval("document.documentElement.dataset.old = 1")
    page:call("Page.reload")
    poll.wait(function()
      local asked, there = pcall(page.eval, page, "!document.documentElement.dataset.old && "
        .. "document.documentElement.dataset.polls > 0")
      return asked and there
    end, "the page, loaded again")
    -- Somebody else at this address guesses tokens: the page says so, and goes on by itself.
    poll.wait(function()
      for i = 1, 30 do
        http.request(control, {
          path = "/status", headers = { Authorization = "Bearer guess-number-" .. i },
        })
      end
      return page:eval("document.getElementById('live').textContent") == "○ refused"
    end, "a refusal")
    assert.matches("^too many wrong tokens have come from 127%.0%.0%.1: ", page:eval(
      "document.getElementById('said').textContent"))
    page:wait("document.getElementById('live').textContent", function(text)
      return text == "● live"
    end)
    assert.equal("The instance answers again.",
      page:eval("document.getElementById('said').textContent"))
    assert.same({ 0, "" }, page:eval("[localStorage.length, document.cookie]"))
    assert.is_nil(table.concat(page.urls, "\n"):find(token, 1, true))
  end)
end)
