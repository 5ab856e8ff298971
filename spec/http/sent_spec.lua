--- What a listener writes that is told that all has been sent: it goes to the
--- client whose answer it is, and to no other.

local fixture = require "spec.fixture.http_server"
local helper = require "spec.helper"

local head = fixture.head

--- Writes more than the kernel takes, and has `listener` called once that is
--- sent. Returns how many bytes these are.
local function fill(res, listener)
  res:once("drain", listener)
  local piece, count = ("x"):rep(10000), 1
  while res:write(piece) do count = count + 1 end
  return count * #piece
end

--- Returns a test's function: two clients ask, the one for "/", which `handler`
--- answers, and the other, once `listens(client, req)` has returned, for "/b".
--- That one must get its own answer, and no more.
local function beside(handler, listens)
  local function handle(req, res)
    if req.url == "/b" then return res:finish("answer to b") end
    handler(req, res)
  end
  return fixture.with(handle, function(client, server, port)
    local other <close> = fixture.connect(port)
    listens(client, server)

    assert.equal("answer to b", other:ask(head("GET /b")).body)
    assert.equal("answer to b", other:ask(head("GET /b")).body)
  end)
end

describe("what is written once all has been sent", function()
  it("goes to its own client if a drain listener finishes", beside(
    function(req, res)
      req.size = fill(res, function() res:finish("the end") end)
    end, function(client, server)
      local req = client:send(fixture.GET) and server:wait_for("request")
      helper.eventually(function() return req.size end)
      local body = client:answer().body

      assert.equal(req.size + #"the end", #body)
      assert.equal("the end", body:sub(-7))
      assert.equal("answer to b", client:ask(head("GET /b")).body)
    end))

  it("is sent before the connection ends", beside(function(req, res)
    req.size = fill(res, function() res:finish("the end") end)
  end, function(client, server)
    client:send(head("GET /", fixture.CLOSE))
    local req = server:wait_for("request")
    helper.eventually(function() return req.size end)
    local body = client:answer().body

    assert.equal(req.size + #"the end", #body)
    assert.is_nil(client:answer())
  end))

  it("goes on for as long as a drain listener writes", beside(
    function(req, res)
      local rounds = 0
      local function again()
        rounds = rounds + 1
        if rounds == 20 then return res:finish("the end") end
        req.size = req.size + fill(res, again)
      end
      req.size = 0
      again()
    end, function(client, server)
      local req = client:send(fixture.GET) and server:wait_for("request")
      local body = client:answer().body

      assert.equal(req.size + #"the end", #body)
    end))

  it("is the next answer if a finish listener gives it", beside(
    function(req, res)
      if req.url == "/second" then
        req.socket.second = res
        return
      end
      res:on("finish", function() req.socket.second:finish("second") end)
      req.socket:once("answer", function() res:finish("first") end)
    end, function(client, server)
      client:send(head("GET /first") .. head("GET /second"))
      local req = server:wait_for("request")
      helper.eventually(function() return req.socket.second end)
      req.socket:emit("answer")

      assert.equal("first", client:answer().body)
      assert.equal("second", client:answer().body)
    end))
end)
