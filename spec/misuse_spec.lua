--- Misuse of the public functions: whatever a wrong argument is, the error is
--- at the user's line and in the user's words, and none of our own insides.

local helper = require "spec.helper"
local orrery = require "orrery"

local run = helper.run
local process, net, stream = orrery.process, orrery.net, orrery.stream
local http = orrery.http

local NONE = "/does not exist"

--- Arguments that hardly any function takes.
local function nothing() end
local wrong = { -1, 1.5, true, {}, { 1, nil, 3 }, { nosuch = 1 }, nothing,
  coroutine.create(nothing), io.stdout, "a\0b", "nosuch", "" }

--- What says that an error comes from within.
local insides = { "attempt to", "bad argument", "assertion failed", "overflow",
  "nil nil", "table table", "function function", "lua/orrery/", "%[orrery%." }

--- Ends what a call has made, if it has made something after all.
local function clean(result)
  if type(result) ~= "table" then return end
  if result.spawn_file then
    result:on("error", nothing)
    result:wait()
  elseif result.handle_type_ == "net.Server" then
    result:close(nothing)
  elseif result.destroy then
    if result.on then result:on("error", nothing) end
    result:destroy()
  elseif result.cancel then
    result:cancel()
    result:join()
  elseif result.stop then
    result:stop()
  end
end

--- Calls fn(value) and returns the text of the error that it raises, if any.
local function misuse(fn, ...)
  local ok, result = pcall(fn, ...)
  if ok then return clean(result) end
  return tostring(result)
end

local function check(name, fn)
  local raised = 0
  for i = 0, #wrong do
    local text = misuse(fn, wrong[i])
    raised = raised + (text and 1 or 0)
    for _, inside in ipairs(text and insides or {}) do
      assert(not text:find(inside), ("%s(%s): %s"):format(name,
        orrery.inspect(wrong[i]), text))
    end
    assert(not text or text:find("^spec/misuse_spec.lua:%d+: "),
      ("%s(%s): %s"):format(name, orrery.inspect(wrong[i]), text))
  end
  assert(raised > 0, name .. " raises for nothing")
end

--- Each is called with each wrong argument, and without one.
local calls = {
  ["spawn"] = function(v) return (orrery.spawn(v)) end,
  ["spawn's args"] = function(v) return (orrery.spawn(NONE, v)) end,
  ["an argument"] = function(v) return (orrery.spawn(NONE, { v })) end,
  ["spawn's options"] = function(v) return (orrery.spawn(NONE, {}, v)) end,
  ["stdio"] = function(v) return (orrery.spawn(NONE, { stdio = v })) end,
  ["stdio[0]"] = function(v) return (orrery.spawn(NONE, { stdio = { v } })) end,
  ["env"] = function(v) return (orrery.spawn(NONE, { env = { A = v } })) end,
  ["rlimits"] = function(v) return (orrery.spawn(NONE, { rlimits = v })) end,
  ["run"] = function(v) return (orrery.run(v)) end,
  ["sh"] = function(v) return (orrery.sh("true", v)) end,
  ["exec"] = function(v) return (orrery.exec(v)) end,
  ["exec's callback"] = function(v) return (orrery.exec("true", {}, v)) end,
  ["exec_file"] = function(v) return (orrery.exec_file(NONE, v)) end,
  ["pipeline"] = function(v) return (orrery.pipeline(v)) end,
  ["a stage"] = function(v) return (orrery.pipeline { v }) end,
  ["spawn_sync"] = function(v) return (orrery.spawn_sync(v)) end,
  ["fork"] = function(v) return (orrery.fork("/dev/null", v)) end,
  ["fork's stdio"] = function(v)
    return (orrery.fork("/dev/null", { stdio = v or "inherit" }))
  end,
  ["go"] = function(v) return (orrery.go(v)) end,
  ["sleep"] = function(v) return (orrery.sleep(v)) end,
  ["deadline"] = function(v) return (orrery.deadline(v, nothing)) end,
  ["deadline's fn"] = function(v) return (orrery.deadline(1, v)) end,
  ["all"] = function(v) return (orrery.all(v)) end,
  ["race"] = function(v) return (orrery.race { v }) end,
  ["scope"] = function(v) return (orrery.scope(v)) end,
  ["scope:spawn"] = function(v)
    orrery.scope(function(s) clean((s:spawn(NONE, {}, v))) end)
  end,
  ["after"] = function(v) return (orrery.after(1, v)) end,
  ["every"] = function(v) return (orrery.every(v, nothing)) end,
  ["main"] = function(v) return (orrery.main(v)) end,
  ["on"] = function(v) orrery.events.new():on(v, nothing) end,
  ["once"] = function(v) orrery.events.new():once("x", v) end,
  ["off"] = function(v) orrery.events.new():off("x", v) end,
  ["wait_for"] = function(v) orrery.events.new():wait_for("x", v or 1) end,
  ["each"] = function(v) orrery.events.new():each(v) end,
  ["extend"] = function(v)
    orrery.events.extend(type(v) == "table" and {} or v)
  end,
  ["process.on"] = function(v) process.on("SIGUSR2", v)() end,
  ["process.kill"] = function(v) process.kill("x", v) end,
  ["process.chdir"] = function(v) process.chdir(v) end,
  ["process.next_tick"] = function(v) process.next_tick(v) end,
  ["process.hrtime"] = function(v) process.hrtime(v) end,
  ["exit_code"] = function(v)
    process.exit_code = v
    process.exit_code = nil
  end,
  ["stream.open"] = function(v) return (stream.open("/dev/null", v)) end,
  ["pipe"] = function(v)
    local one = stream.open("/dev/null", "r")
    local ok, err = pcall(one.pipe, one, v)
    one:destroy()
    if not ok then error(err, 0) end
  end,
  ["create_server"] = function(v) return (net.create_server(v)) end,
  ["server:listen"] = function(v)
    local server <close> = net.create_server()
    server:listen({ port = v or 0 })
  end,
  ["connect"] = function(v) return (net.connect(v)) end,
  ["adopt_socket"] = function(v) return (net.adopt_socket(v)) end,
  ["adopt_server"] = function(v) return (net.adopt_server(v)) end,
  ["http.create_server"] = function(v)
    return (http.create_server(v or 1))
  end,
  ["its max_pipelined"] = function(v)
    return (http.create_server({ max_pipelined = v or 0 }))
  end,
  ["its handler"] = function(v) return (http.create_server({}, v or 1)) end,
  ["http.request"] = function(v) return (http.request(v)) end,
  ["request's options"] = function(v)
    return (http.request("http://127.0.0.1:1", v or 1))
  end,
  ["request's headers"] = function(v)
    return (http.request("http://127.0.0.1:1", { headers = v or 1 }))
  end,
  ["http.get"] = function(v) return (http.get(v)) end,
  ["http.fetch"] = function(v) return (http.fetch(v)) end,
  ["fetch's body"] = function(v)
    return (http.fetch("http://127.0.0.1:1", { body = v or 1 }))
  end,
  ["http.agent"] = function(v) return (http.agent(v or 1)) end,
  ["dgram.adopt"] = function(v) return (orrery.dgram.adopt(v, "udp4")) end,
  ["create_socket"] = function(v) return (orrery.dgram.create_socket(v)) end,
}

describe("a wrong argument", function()
  it("fault D10: is named at the user's line", function()
    run(function()
      for name, fn in pairs(calls) do check(name, fn) end
    end)
  end)

  it("fault D10: is named once", function()
    local text = misuse(function() orrery.go() end)
    assert.matches("go: fn must be a function, got nil$", text)
    text = misuse(function() orrery.spawn(nothing) end)
    assert.matches("got function$", text)
    text = misuse(function() orrery.spawn("ls", {}, 5) end)
    assert.matches("options must be a table, got number 5$", text)
  end)

  it("of a response is named at the user's line", function()
    run(function()
      local server <close> = http.create_server(function(_, res)
        check("set_header", function(v) res:set_header("X-A", v) end)
        check("its name", function(v) res:set_header(v, "x") end)
        check("write_head", function(v) res:write_head(v) end)
        check("status_code", function(v) res.status_code = v end)
        res:finish("done")
      end)
      assert(server:listen(0, "127.0.0.1"))
      assert.equal("done", assert(http.fetch("http://127.0.0.1:"
        .. server:address().port, { agent = false })).body)
    end)
  end)

  it("fault D10: of `off` names what removes all", function()
    local text = misuse(function() process.off("sigusr2") end)

    assert.matches("off: the listener to remove is missing; "
      .. 'remove_all%("SIGUSR2"%) removes all', text)
  end)
end)

describe("orrery in the place of a script", function()
  it("fault D10: is told that it is none", function()
    run(function()
      local child = orrery.fork(helper.orrery, { "x.lua" },
        { stdio = { "ignore", "inherit", "pipe", "ipc" },
          env_extend = helper.env() })
      assert.matches("^orrery: .*bin/orrery is orrery itself and no script: "
        .. 'give fork, or orrery, the script, as in fork%("x.lua"%)\n$',
        child.stderr:read_all())
      assert.equal(9, child:wait())
      helper.await_close(child)

      local result = helper.cli { helper.orrery, "-e", "print(1)" }
      assert.matches('as in fork%("worker.lua"%)\n$', result.stderr)
      assert.equal(9, result.code)
    end)
  end)

  it("prints how it is used, and no more", function()
    run(function()
      assert.matches("signal that ended the script%.\n$",
        helper.cli({}).stderr)
    end)
  end)
end)
