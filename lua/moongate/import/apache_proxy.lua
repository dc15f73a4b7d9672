-- moongate.import.apache_proxy owns FastCGI as Apache says it: ProxyPass, handlers, balancers,
-- FastCgiExternalServer.
-- Called by moongate.import.apache.

local Model = require("moongate.import.model")
local pattern = require("moongate.import.pattern")
local writer = require("moongate.import.writer")

local M = {}

local quote = pattern.quote
local add = writer.add

--- "proxy:unix:/x|fcgi://host/path", "fcgi://host:port/path", "balancer://name/path" taken apart.
---@return string|nil backend, string|nil folder what the application is told before the path
function M.target(model, text)
  text = text:gsub("^proxy:", "")
  local socket, rest = text:match("^unix:([^|]+)|fcgi://[^/]*(.*)$")
  if socket then
    local address = Model.address("unix:" .. socket)
    return address and model:backend(address), rest
  end
  local name
  name, rest = text:match("^balancer://([^/]+)(.*)$")
  if name then
    return model.groups[name], rest
  end
  local host
  host, rest = text:match("^fcgi://([^/]+)(.*)$")
  if host then
    local address = Model.address(host, 8000)
    return address and model:backend(address), rest
  end
  return nil
end

local LBMETHODS = { byrequests = "round_robin", bybusyness = "least_conn",
  bytraffic = "round_robin" }

-- Parameters "key=value" of a worker.
local function parameters(model, notes, node, from, backend)
  for i = from, #node.args do
    local key, value = node.args[i]:match("^(%w+)=(.*)$")
    local number = tonumber(value)
    key = key and key:lower()
    if not backend then
      break
    elseif key == "timeout" and number then
      backend.options.read_timeout, backend.options.send_timeout = number, number
    elseif key == "connectiontimeout" and (number or value:match("^%d+ms$")) then
      backend.options.connect_timeout = number or value
    elseif key == "max" and number then
      backend.options.max_conns = number
    elseif key == "retry" and number then
      backend.options.fail_timeout = number
    elseif key == "enablereuse" and value:lower() == "on" then
      model:trap(node.where,
        "enablereuse=on holds one of PHP-FPM's processes for each kept connection; a backend's "
        .. "`keepalive` says how many are kept, and is 0 by itself")
    elseif key == "lbmethod" and LBMETHODS[value] then
      backend.options.balance = LBMETHODS[value]
    elseif key == "acquire" and number then
      backend.options.queue_timeout = number / 1000
    elseif key == "maxattempts" and number then
      backend.options.attempts = number + 1
    elseif not (key == "disablereuse" or key == "enablereuse" or key == "flushpackets"
      or key == "flushwait"
      or key == "ping" or key == "nocanon") then
      if node.args[i]:lower() ~= "nocanon" then
        model:note(notes, { name = node.shown, args = { node.args[i] }, where = node.where },
          "a parameter of a worker")
      end
    end
  end
end

--- Balancers and external servers, which other lines name.
function M.collect(model, nodes, flattened, self)
  for _, node in ipairs(flattened(nodes, {}, { model = { note = function() end } })) do
    local name = node.name == "proxy" and (node.args[1] or ""):match("^balancer://([^/]+)")
    if name then
      local servers, options, parent = {}, {}, node
      for _, member in ipairs(node.block) do
        model.translated = model.translated + 1
        if member.name == "balancermember" then
          local text = member.args[1] or ""
          local socket = text:match("^unix:([^|]+)|")
          local host = text:match("^fcgi://([^/]+)")
          local address = socket and Model.address("unix:" .. socket) or host
            and Model.address(host, 8000)
          if address then
            local server, plain = { address = address }, true
            for i = 2, #member.args do
              local key, value = member.args[i]:match("^(%w+)=(.*)$")
              if key == "loadfactor" and tonumber(value) then
                server.weight, plain = math.max(1, math.floor(tonumber(value))), false
              elseif key == "status" and value:find("[+]H") then
                server.backup, plain = true, false
              elseif key == "max" and tonumber(value) then
                server.max_conns, plain = tonumber(value), false
              else
                model:note(self.notes, { name = "BalancerMember", args = { member.args[i] },
                  where = member.where })
              end
            end
            servers[#servers + 1] = plain and address or server
          else
            model:note(self.notes, member, "no address of FastCGI")
          end
        elseif member.name == "proxyset" then
          parent = member
        end
      end
      if #servers > 0 then
        local made, backend = model:group(name, servers, options)
        model.groups[name] = made
        if parent ~= node then
          parameters(model, self.notes, parent, 1, backend)
        end
      end
    elseif node.name == "fastcgiexternalserver" or node.name == "fastcgiexternalservers" then
      local address
      for i, arg in ipairs(node.args) do
        if arg == "-host" and node.args[i + 1] and node.args[i + 1]:sub(1, 1) ~= "-" then
          address = Model.address(node.args[i + 1])
        elseif arg == "-socket" and node.args[i + 1] then
          address = Model.address("unix:" .. node.args[i + 1])
        end
      end
      if not address then
        address = "127.0.0.1:9000"
        model:trap(node.where,
          "FastCgiExternalServer names no address here; 127.0.0.1:9000 stands in `backends`")
      end
      local backend = model:backend(address)
      model.externals[node.args[1] or ""] = backend
      for i, arg in ipairs(node.args) do
        if arg == "-idle-timeout" and tonumber(node.args[i + 1]) then
          model:find_backend(backend).options.read_timeout = tonumber(node.args[i + 1])
        elseif arg == "-appConnTimeout" and (tonumber(node.args[i + 1]) or 0) > 0 then
          model:find_backend(backend).options.connect_timeout = tonumber(node.args[i + 1])
        end
      end
      model.translated = model.translated + 1
    end
  end
end

--- A ProxyPass or ProxyPassMatch to FastCGI.
---@return boolean understood
function M.pass(self, node)
  local model = self.model
  local from, to = node.args[1] or "", node.args[2]
  local match = node.name == "proxypassmatch"
  if not to then
    return false
  elseif to == "!" then
    self.passes[#self.passes + 1] = { from = from, match = match, except = true, node = node }
    return true
  end
  local backend, rest = M.target(model, to)
  if not backend then
    return false
  end
  parameters(model, self.notes, node, 3, model:find_backend(backend))
  self.passes[#self.passes + 1] = { from = from, match = match, backend = backend, rest = rest,
    node = node }
  return true
end

--- The decision for a path below a prefix.
function M.decision(self, pass, ctx)
  local d = { backend = pass.backend, params = next(ctx.params) and ctx.params or nil }
  for _, key in ipairs({ "read_timeout", "send_timeout", "connect_timeout", "body_limit",
    "intercept_errors" }) do
    d[key] = ctx.values[key]
  end
  d.headers, d.always = next(ctx.headers) and ctx.headers or nil, next(ctx.always) and ctx.always
    or nil
  if pass.handler then
    d.root = self.root
    return d
  end
  local rest = pass.rest or ""
  local from = pass.from:gsub("/$", "")
  if from ~= "" then
    d.strip = from
  end
  local folder = rest:gsub("/$", "")
  d.docroot = folder ~= "" and folder or self.root or "/"
  if folder == "" then
    self.model:trap(pass.node.where,
      "no folder stands behind the address: Apache tells the application paths such as "
      .. "/script.php; the route takes the document root")
  end
  if self.root and (folder == self.root) then
    d.root, d.docroot = self.root, nil
  end
  return d
end

--- The lines of all ProxyPass, in their order.
function M.write(self, lines)
  for _, pass in ipairs(self.passes) do
    local test
    if pass.match then
      test = pattern.test("path", pass.from)
    elseif pass.from == "/" then
      test = nil
    elseif pass.from:sub(-1) == "/" then
      test = ("path:find(%s)"):format(quote("^" .. pass.from:gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]",
        "%%%0")))
    else
      test = ("(path == %s or path:find(%s))"):format(quote(pass.from),
        quote("^" .. (pass.from .. "/"):gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0")))
    end
    local answer
    if pass.except then
      answer = ("return %s.serve(req)"):format(self.server.id)
    else
      local ctx = self.ctx
      if pass.match then
        local folder = pass.rest:match("^(/.-)/?%$%d$") or pass.rest:match("^(/.-)/?$") or ""
        local strip = pass.from:match("^%^(/[%w/_-]+)/%(") or nil
        pass = setmetatable({ from = strip or "/", rest = folder }, { __index = pass })
        if not pass.node.checked then
          pass.node.checked = true
          self.model:trap(pass.node.where,
            "ProxyPassMatch runs before Apache looks at files: scripts that are not there reach "
            .. "PHP, and <Files>, <Directory> and .htaccess do not hold; <FilesMatch> with "
            .. "SetHandler does it better")
        end
      end
      local name, number = "passed", 1
      while self.names[name] do
        number = number + 1
        name = "passed_" .. number
      end
      local d = M.decision(self, pass, ctx)
      if self.rewrites then
        -- The path of a rewritten request, and its query.
        d.static = false
        local text = "php.site " .. writer.value(d)
        if d.root and not d.strip then
          self.names[name] = true
          for part in (self.server.id .. "." .. name .. " = " .. text .. "\n"):gmatch("(.-)\n") do
            table.insert(self.server.fields, part)
          end
          answer = ("return %s.%s(req)"):format(self.server.id, name)
        end
        d.static = nil
      end
      if not answer then
        self.names[name] = true
        for part in (self.server.id .. "." .. name .. " = " .. writer.value(d)
          .. "\n"):gmatch("(.-)\n") do
          table.insert(self.server.fields, part)
        end
        answer = ("return %s.%s"):format(self.server.id, name)
      end
    end
    if test then
      add(lines, 0, "if %s then -- %s %s (%s)", test, pass.node.shown,
        writer.comment(pass.node.args[1]),
        pass.node.where:match("[^/]*$"))
      add(lines, 1, "%s", answer)
      add(lines, 0, "end")
    else
      add(lines, 0, "do -- %s %s (%s)", pass.node.shown, writer.comment(pass.node.args[1]),
        pass.node.where:match("[^/]*$"))
      add(lines, 1, "%s", answer)
      add(lines, 0, "end")
    end
  end
end

return M
