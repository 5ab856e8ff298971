--- Requests that come at the very moment at which an idle connection is ended:
--- clients are paced at a server's timeout, give or take 2 ms.

local helper = require "spec.helper"
local node = require "spec.fixture.node"
local orrery = require "orrery"
local server_fixture = require "spec.fixture.http_server"

local run = helper.run

local TIMEOUT = 30 -- ms that a connection may be idle
local COUNT = tonumber(os.getenv("HTTP_PACED")) or 10000 -- requests
local CLIENTS = 100

--- Calls fn(state) in as many tasks as there are clients, COUNT times in all;
--- each waits for `ms`, give or take 2, behind each call. [w]
local function paced(ms, fn)
  local tasks = {}
  for i = 1, CLIENTS do
    tasks[i] = function()
      local state = {}
      for _ = 1, COUNT // CLIENTS do
        fn(state)
        orrery.sleep(ms + math.random(-2, 2))
      end
      if state.client then state.client.socket:destroy() end
      if state.agent then state.agent:destroy() end
    end
  end
  orrery.all(tasks)
end

--- A server of Node's that ends idle connections, and does not announce when.
local SERVER = [[
  const server = require("http").createServer((req, res) => {
    res.setHeader("Connection", "keep-alive")
    res.end("hello")
  })
  server.keepAliveTimeout = %d
  server.keepAliveTimeoutBuffer = 0
  server.listen(0, "127.0.0.1", () => console.log(server.address().port))
  process.stdin.on("end", () => process.exit()).resume()]]

describe("a client whose requests cross the end of its connections #chaos",
  function()
    if not node.NODE then return pending("needs Node") end

    it("has each of them answered, by Node's server", function()
      run(function()
        local peer <close> = orrery.spawn(node.NODE,
          { "-e", SERVER:format(TIMEOUT) },
          { stdio = { "pipe", "pipe", "inherit" } })
        local url = ("http://127.0.0.1:%d/"):format(peer.stdout:lines()())
        local answered = 0
        paced(TIMEOUT, function(state)
          state.agent = state.agent or orrery.http.agent {}
          local answer, err = orrery.http.fetch(url, { agent = state.agent })
          assert(answer, err)
          assert.equal("hello", answer.body)
          answered = answered + 1
        end)

        assert.equal(COUNT, answered)
        peer.stdin:finish()
        peer:wait()
      end, 120000)
    end)
  end)

describe("a server's end of idle connections #chaos", function()
  --- Sends a request, on a new connection if the last one has ended. Returns
  --- what came of it: "answered", "ended" or the code of an error. [w]
  local function ask(state, port)
    state.client = state.client or server_fixture.connect(port)
    state.client:send(server_fixture.GET)
    local ok, answer = pcall(state.client.answer, state.client)
    if ok and answer then return "answered" end
    state.client.socket:destroy()
    state.client = nil
    return ok and "ended" or answer.code or tostring(answer)
  end

  --- Returns how long, in ms, a connection is really kept. [w]
  local function time_kept(port)
    local client <close> = server_fixture.connect(port)
    client:ask(server_fixture.GET)
    local begun = orrery.process.uptime()
    client:rest()
    return (orrery.process.uptime() - begun) * 1000 // 1 | 0
  end

  it("resets none, though clients neither heed it nor repeat", function()
    run(function()
      local server, port = server_fixture.serve(function(_, res)
        res:finish("hello")
      end, { keep_alive_timeout = TIMEOUT, keep_alive_buffer = 0 })
      local outcomes = {}
      paced(time_kept(port), function(state)
        local outcome = ask(state, port)
        outcomes[outcome] = (outcomes[outcome] or 0) + 1
      end)
      print(("\n%d of %d requests crossed the end of their connection")
        :format(outcomes.ended or 0, COUNT))
      server:close()
      outcomes.ended, outcomes.answered = nil, nil

      assert.same({}, outcomes)
    end, 120000)
  end)
end)
