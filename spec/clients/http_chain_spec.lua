--- Proxies before and behind us: whatever bytes a client sends, both see the
--- same number of requests, for one that only one of them sees is smuggled.

local clients = require "spec.fixture.clients"
local fixture = require "spec.fixture.http_server"
local helper = require "spec.helper"
local node = require "spec.fixture.node"
local orrery = require "orrery"
local vectors = require "spec.fixture.http_vectors"

local run = helper.run

local NGINX = [[
  daemon off;
  master_process off;
  pid %s/pid;
  error_log %s/error;
  events { }
  http {
    log_format upstream '$upstream_addr';
    access_log %s/log upstream;
    client_body_temp_path %s; proxy_temp_path %s; fastcgi_temp_path %s;
    uwsgi_temp_path %s; scgi_temp_path %s;
    upstream us { server 127.0.0.1:%d; keepalive 4; }
    server {
      listen unix:%s/front;
      lingering_close off;
      location / {
        proxy_pass http://us;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_next_upstream off;
        proxy_ignore_client_abort on;
      }
    }
  }]]

local NODE = [[
  let count = 0
  const server = require("http").createServer((req, res) => {
    if (req.url === "/count") return res.end(String(count))
    req.resume().on("end", () => {
      count++
      res.end("hello")
    })
  })
  server.listen(0, "127.0.0.1", () => console.log(server.address().port))
  process.stdin.on("end", () => process.exit()).resume()]]

--- Sends a vector, and that no more follows; returns when the other side has
--- ended the connection. [w]
local function send(place, bytes)
  local client <close> = fixture.connect(place)
  client:send(bytes):finish()
  client:rest()
end

local function requests()
  local list = {}
  for _, row in ipairs(vectors.rows()) do
    if row.type == "request" then list[#list + 1] = row end
  end
  return list
end

describe("nginx before us #clients", function()
  --- Returns how many requests nginx has handed on.
  local function handed_on(folder)
    local file <close> = assert(io.open(folder .. "/log"))
    local _, count = file:read("a"):gsub("127%.0%.0%.1", "")
    return count
  end

  it("hands on as many requests as we see, whatever it gets", function()
    clients.need "nginx"
    run(function()
      local folder = orrery.run("mktemp", { "-d" }, { trim = true }).stdout
      local seen = 0
      local server, port = fixture.serve(function(req, res)
        seen = seen + 1
        req:read_all()
        res:finish("hello")
      end)
      server:on("client_error", function(_, socket)
        seen = seen + 1
        socket:destroy()
      end)
      local conf = assert(io.open(folder .. "/conf", "w"))
      conf:write((NGINX:gsub("%%s", folder):gsub("%%d", port)))
      conf:close()
      local nginx <close> = orrery.spawn("nginx",
        { "-p", folder, "-c", folder .. "/conf" }, { stdio = "ignore" })
      helper.eventually(function()
        return (pcall(send, folder .. "/front", "x"))
      end)

      for _, row in ipairs(requests()) do
        send(folder .. "/front", row.bytes)
        local same = pcall(helper.eventually, function()
          return handed_on(folder) == seen
        end, 5000)
        assert(same, row.name)
      end

      assert.is_true(seen > 10)
      nginx:stop()
      server:close()
      orrery.run("rm", { "-r", folder })
    end, 120000)
  end)
end)

describe("Node behind us #clients", function()
  it("sees as many requests as we hand on, whatever we get", function()
    clients.need "node"
    run(function()
      local peer <close> = orrery.spawn(node.NODE, { "-e", NODE },
        { stdio = { "pipe", "pipe", "inherit" } })
      local origin = ("http://127.0.0.1:%d"):format(peer.stdout:lines()())
      local agent = orrery.http.agent {}
      local handed_on = 0
      local server, port = fixture.serve(function(req, res)
        req:on("end", function() handed_on = handed_on + 1 end)
        local request = orrery.http.request(origin, { method = req.method,
          path = "/", agent = agent, headers = { ["X-Url"] = "a" } },
          function(response)
            res:set_header("Content-Length", response.headers["content-length"])
            response:pipe(res)
          end)
        request:on("error", function() res:destroy() end)
        req:pipe(request)
        req:on("aborted", function() request:destroy() end)
      end)

      for _, row in ipairs(requests()) do
        send(port, row.bytes)
        local counted = orrery.http.fetch(origin .. "/count", { agent = agent })
        assert.equal(tostring(handed_on), counted.body, row.name)
      end

      assert.is_true(handed_on > 10)
      agent:destroy()
      server:close()
      peer.stdin:finish()
      peer:wait()
    end, 120000)
  end)
end)
