--- What an HTTP server tells of itself in a worker of a cluster.

local fixture = require "spec.fixture.cluster"

describe("an HTTP server in a worker", function()
  it("counts a connection once if it listens again", fixture.says({
    "1 1", "2 1", "0 0" }, [[
      local port, workers = up(1)
      local worker, listening = workers[1], 0
      worker:on("listening", function() listening = listening + 1 end)
      local function await_counts(connections, busy)
        await(function()
          return worker.connections == connections and worker.busy == busy
        end)
        say(worker.connections, worker.busy)
      end
      local first = client(port):request("/slow")
      await_counts(1, 1)
      worker:send("again")
      await(function() return listening == 1 end)
      local second = client(port)
      second:get()
      await_counts(2, 1)
      second:close()
      worker:send("answer")
      first:answer()
      first:close()
      await_counts(0, 0)
      down()]], [[
    local waiting
    local server = serve_http(function(req, res)
      if req.url ~= "/slow" then return res:finish("soon") end
      waiting = res
    end)
    process.on("message", function(message)
      if message == "answer" then return waiting:finish("late") end
      local port = server:address().port
      server:close()
      server:listen(port, "127.0.0.1")
    end)]]))
end)
