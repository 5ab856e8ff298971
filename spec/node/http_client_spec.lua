--- Our client with Node's server.

local helper = require "spec.helper"
local client = require "orrery.http.client"
local orrery = require "orrery"
local fixture = require "spec.fixture.node"
local finish = require "spec.fixture.http".finish

local run, NODE = helper.run, fixture.NODE

describe("Node", function()
  if not NODE then pending("is a server for our client") end
end)

local SERVER = [[
  const http = require("http")
  let connections = 0
  const server = http.createServer((req, res) => {
    const chunks = []
    req.on("data", (chunk) => chunks.push(chunk))
    req.on("end", () => {
      res.setHeader("X-Connections", connections)
      res.setHeader("X-Method", req.method)
      res.setHeader("X-Framing", req.headers["transfer-encoding"]
        || req.headers["content-length"] || "none")
      if (req.url === "/short") { // ends the connection, and announces nothing
        res.setHeader("Connection", "keep-alive")
        setTimeout(() => req.socket.destroy(), 10)
      }
      if (req.url === "/chunks") chunks.forEach((chunk) => res.write(chunk))
      res.end(req.url === "/chunks" ? undefined : Buffer.concat(chunks))
    })
  })
  server.on("connection", () => connections++)
  server.on("checkContinue", (req, res) => {
    if (req.url === "/no") {
      res.writeHead(417)
      return res.end("no")
    }
    res.writeContinue()
    server.emit("request", req, res)
  })
  server.on("upgrade", (req, socket, head) => {
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
      + "Upgrade: echo\r\n\r\nhello ")
    socket.pipe(socket)
  })
  server.on("connect", (req, socket) => {
    socket.write("HTTP/1.1 200 OK\r\n\r\n" + req.url)
    socket.pipe(socket)
  })
  server.listen(0, "127.0.0.1", () => console.log(server.address().port))]]

--- Runs fn(url, agent) with such a server. [w]
local function with_node(fn)
  local child <close> = orrery.spawn(NODE, { "-e", SERVER },
    { stdio = { "ignore", "pipe", "inherit" } })
  local agent <close> = client.agent()
  fn("http://127.0.0.1:" .. child.stdout:lines()(), agent)
end

if NODE then describe("a client of Node's server", function()
  it("keeps a connection, by all methods", function()
    run(function()
      with_node(function(url, agent)
        for _, method in ipairs { "GET", "POST", "PUT", "DELETE", "HEAD",
          "OPTIONS", "PATCH", "GET" } do
          local answer = client.fetch(url, { method = method, agent = agent })
          assert.same({ 200, "1", method }, { answer.status,
            answer.headers["x-connections"], answer.headers["x-method"] })
        end
      end)
    end)
  end)

  it("sends and gets bodies, with their length and in chunks", function()
    run(function()
      with_node(function(url, agent)
        local big = ("\0\r\n0\r\n\r\n\255"):rep(100000)
        local answer = client.fetch(url,
          { method = "PUT", body = big, agent = agent })
        assert.is_true(answer.body == big)
        assert.equal(tostring(#big), answer.headers["x-framing"])

        local request = client.request(url .. "/chunks",
          { method = "POST", agent = agent })
        for _ = 1, 10 do
          if not request:write(big) then request:wait_for("drain") end
        end
        local response, body = finish(request)
        assert.equal("chunked", response.headers["transfer-encoding"])
        assert.is_true(body == big:rep(10))
        assert.equal("1", response.headers["x-connections"])
      end)
    end)
  end)

  it("waits for its continue, and hears its refusal", function()
    run(function()
      with_node(function(url, agent)
        local opts = { method = "POST", agent = agent,
          headers = { Expect = "100-continue" } }
        local request = client.request(url, opts)
        local log = helper.record(request, { "continue" })
        local _, body = finish(request, "a body")
        assert.same({ "a body", 1 }, { body, #log })
        local answer
        answer, body = finish(client.request(url .. "/no", opts), "a body")
        assert.same({ 417, "no" }, { answer.status_code, body })
      end)
    end)
  end)

  it("upgrades, and connects", function()
    run(function()
      with_node(function(url, agent)
        local function read(socket, head, length)
          return head .. (socket:read_exactly(length - #head) or "")
        end
        local request = client.get(url, { agent = agent,
          headers = { Connection = "Upgrade", Upgrade = "echo" } })
        local _, socket, head = request:wait_for("upgrade")
        socket:write("world")
        assert.equal("hello world", read(socket, head, 11))
        socket:destroy()

        request = client.request(url,
          { method = "CONNECT", path = "there:1", agent = agent })
        request:finish()
        _, socket, head = request:wait_for("connect")
        socket:write("!")
        assert.equal("there:1!", read(socket, head, 8))
        socket:destroy()
      end)
    end)
  end)

  it("loses no idempotent request where the server ends connections",
    function()
    run(function()
      with_node(function(url, agent)
        local last
        for i = 1, 30 do
          last = assert(client.fetch(url .. "/short", { agent = agent }))
          orrery.sleep(i)
        end
        assert.is_true(tonumber(last.headers["x-connections"]) > 1)
      end)
    end)
  end)
end) end
