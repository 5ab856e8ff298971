--- Node's own tests of a cluster's servers, group J: datagrams and Unix paths.
--- See cluster_servers_spec.lua.

local fixture = require "spec.fixture.cluster"
local helper = require "spec.helper"
local net_fixture = require "spec.fixture.net"
local orrery = require "orrery"
local uv = require "luv"

local run, says = helper.run, fixture.says

-- Datagrams -------------------------------------------------------------------

--- For a worker: a datagram socket that answers with the worker's id and what
--- came.
local UDP = [[
  local function answering(opts)
    local socket
    socket = orrery.dgram.create_socket(opts, function(data, from)
      socket:send(cluster.worker.id .. " " .. data, from.port, from.address)
    end)
    return socket
  end ]]

--- For a primary: sends a datagram to a port and returns the answer. [w]
local ASK = [[
  local own = orrery.dgram.create_socket("udp4")
  own:bind(0, "127.0.0.1")
  local function ask_udp(port, text)
    own:send(text, port, "127.0.0.1")
    return (own:wait_for("message", 10000))
  end ]]

describe("a datagram socket of a cluster", function()
  it("J114: is one for all workers that bind it, and answered by them", says({
    "udp4 true", "20" }, ASK .. [[
      local kinds, ports = {}, {}
      cluster.on("listening", function(worker, address)
        kinds[worker.id] = address.address_type
        ports[worker.id] = address.port
      end)
      local port = up(2)
      say(kinds[1], kinds[1] == kinds[2] and ports[1] == ports[2])
      local answered = 0
      for i = 1, 20 do
        if ask_udp(port, "x" .. i):match("^[12] x" .. i .. "$") then
          answered = answered + 1
        end
      end
      say(answered)
      own:close()
      down()]], UDP .. [[answering("udp4"):bind(0, "127.0.0.1")]]))

  it("J114: goes on in a worker when another has closed it", says({
    "2 x", "2 y" }, ASK .. [[
      local port, workers = up(2)
      workers[1]:send "close"
      workers[1]:wait_for("message", 10000)
      say(ask_udp(port, "x"))
      say(ask_udp(port, "y"))
      own:close()
      down()]], UDP .. [[
      local socket = answering("udp4")
      socket:bind(0, "127.0.0.1")
      process.on("message", function()
        socket:close(function() process.send "closed" end)
      end)]]))

  it("J114: may be closed while it is bound, and its port is free then", says({
    "closed", "bound" }, [[
      local own, port = orrery.dgram.create_socket "udp4", free_port()
      fork({ PORT = tostring(port) }):wait_for("message", 10000)
      await(function() return own:bind(port, "127.0.0.1") end)
      say "bound"
      own:close()
      down()]], [[
      local socket = orrery.dgram.create_socket "udp4"
      socket:on("error", function(err) assert(err.code == "ECANCELED", err) end)
      socket:bind(tonumber(process.env.PORT), "127.0.0.1", function() end)
      socket:close(function()
        say "closed"
        process.send "closed"
      end)]]))

  it("J114: is two of a worker with reuse_addr, and EADDRINUSE without", says({
    "true true", "EADDRINUSE" }, [[
      fork():wait_for("message", 10000)
      down()]], [[
      local create = orrery.dgram.create_socket
      local reuse = { type = "udp4", reuse_addr = true }
      local first, second = create(reuse), create(reuse)
      local ok = first:bind(0, "127.0.0.1")
      local port = first:address().port
      say(ok ~= nil, second:bind(port, "127.0.0.1") ~= nil)
      local plain = create "udp4"
      plain:bind(0, "127.0.0.1")
      local _, err = create("udp4"):bind(plain:address().port, "127.0.0.1")
      say(err.code)
      process.send "done"]]))

  it("J114: gets the primary's error", says({ "EADDRINUSE", "1 x" }, ASK .. [[
      local other = orrery.dgram.create_socket "udp4"
      other:bind(0, "127.0.0.1")
      local port = other:address().port
      local worker = fork { PORT = tostring(port) }
      worker:wait_for("message", 10000)
      other:close()
      worker:send "again"
      worker:wait_for("listening", 10000)
      say(ask_udp(port, "x"))
      own:close()
      down()]], UDP .. [[
      local port = tonumber(process.env.PORT)
      local socket = answering "udp4"
      local _, err = socket:bind(port, "127.0.0.1")
      say(err.code)
      process.on("message", function()
        socket:bind(port, "127.0.0.1", function() end)
      end)
      process.send "failed"]]))

  it("J114: of IPv6 alone leaves the port to one of IPv4", says({
    "udp6 bound" }, [[
      local worker = fork()
      local address = worker:wait_for("listening", 10000)
      local own = orrery.dgram.create_socket "udp4"
      say(address.address_type,
        own:bind(address.port, "0.0.0.0") and "bound")
      own:close()
      down()]], [[
      orrery.dgram.create_socket { type = "udp6", ipv6_only = true }
        :bind(0, "::")]]))

  it("J114: may be the primary's fd, or the worker's own", says({
    "1 x", "EADDRINUSE nil" }, ASK .. [[
      local core = require "orrery.core"
      local given = core.bind("udp", "127.0.0.1", 0)
      local _, port = core.addresses(given:fileno())
      local worker = fork { FD = tostring(given:fileno()) }
      worker:wait_for("listening", 10000)
      local told
      worker:on("listening", function() told = true end)
      say(ask_udp(port, "x"))
      worker:send { exclusive = port }
      say(worker:wait_for("message", 10000), told)
      given:close()
      own:close()
      down()]], UDP .. [[
      answering("udp4"):bind { fd = tonumber(process.env.FD) }
      process.on("message", function(m)
        orrery.go(function()
          local _, err = answering("udp4"):bind { port = m.exclusive,
            host = "127.0.0.1", exclusive = true }
          process.send(err.code)
        end)
      end)]]))
end)

-- Unix paths ------------------------------------------------------------------

describe("a Unix path of a cluster", function()
  it("J115: is shared, has its address, and goes with its workers", function()
    run(function()
      local path, dir = net_fixture.socket_path()
      local _ <close> = dir

      assert.same({ path .. " unix nil", "1:2 2:2", "gone" }, fixture.lines([[
        cluster.scheduling_policy = "rr"
        local told
        cluster.on("listening", function(_, address) told = address end)
        up(2)
        local path = process.argv[1]
        say(told.address, told.address_type, told.port)
        say(select(2, tally(times(4, ask, path))))
        cluster.disconnect()
        say(require "luv".fs_stat(path) and "there" or "gone")]],
        "serve { path = process.argv[1] }", { args = { path } }))
    end)
  end)

  it("J115: may be of HTTP", function()
    run(function()
      local path, dir = net_fixture.socket_path()
      local _ <close> = dir

      assert.same({ "1" }, fixture.lines([[
        up(1)
        say((get(process.argv[1])))
        down()]], "serve_http(nil, { path = process.argv[1] })",
        { args = { path } }))
    end)
  end)

  it("J115: may be relative, below a folder of a long name", function()
    run(function()
      local top = assert(uv.fs_mkdtemp("/tmp/orrery-spec-XXXXXX"))
      local folder = top .. "/" .. ("long"):rep(30)
      assert(uv.fs_mkdir(folder, tonumber("755", 8)))
      local said = fixture.lines([[
        up(1)
        say(ask "s")
        say(require "luv".fs_stat("s").type)
        cluster.disconnect()]], [[serve { path = "s" }]], { cwd = folder })
      orrery.run("rm", { "-r", top }, { check = true })

      assert.same({ "1", "socket" }, said)
    end)
  end)

  it("J115: is the worker's, where it is in another folder", function()
    run(function()
      local path, dir = net_fixture.socket_path()
      local _ <close> = dir

      assert.same({ "1" }, fixture.lines([[
        cluster.setup_primary { cwd = process.argv[1]:match("^(.*)/") }
        up(1)
        say(ask(process.argv[1]))
        cluster.disconnect()]], [[serve { path = "s" }]], { args = { path } }))
    end)
  end)

  it("J115: on which nobody answers is replaced, and one with a server is not",
    function()
      run(function()
        local path, dir = net_fixture.socket_path()
        local _ <close> = dir

        assert.same({ "1", "EADDRINUSE" }, fixture.lines([[
          local path = process.argv[1]
          require "orrery.core".bind("unix", path):close()
          local worker = fork()
          worker:wait_for("listening", 10000)
          say(ask(path))
          down()
          await(function() return not require "luv".fs_stat(path) end)
          local own = net.create_server()
          own:listen(path)
          say((fork():wait_for("message", 10000)))
          own:close()
          down()]], [[
          local _, err = net.create_server(function(socket)
            socket:finish(tostring(cluster.worker.id))
          end):listen(process.argv[1])
          if err then process.send(err.code) end]], { args = { path } }))
      end)
    end)
end)
