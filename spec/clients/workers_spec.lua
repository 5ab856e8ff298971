--- The workers of pools from npm, as children of ours: their child's half is a
--- program for any parent that speaks Node's JSON.

local clients = require "spec.fixture.clients"
local helper = require "spec.helper"
local node = require "spec.fixture.node"
local orrery = require "orrery"

local run, next_message = helper.run, node.next_message
local null = orrery.null
local MODULE = clients.program("module.js")

--- Forks a file of a package, with Node.
local function fork(package, file, opts)
  opts = opts or {}
  opts.exec_path, opts.exec_argv = "node", {}
  return orrery.fork(clients.module(package, file), {}, opts)
end

--- Defines a test that needs a package.
local function test(package, name, fn)
  it(name, function()
    clients.need_module(package)
    run(fn, clients.TIME)
  end)
end

describe("a worker of jest-worker #clients", function()
  local INITIALIZE, CALL, END = 0, 1, 2
  local OK, CLIENT_ERROR = 0, 1

  local function start()
    local child = fork("jest-worker", "build/workers/processChild.js")
    child:send { INITIALIZE, false, MODULE, {} }
    return child
  end

  test("jest-worker", "answers calls, and tells errors", function()
    local child <close> = start()
    child:send { CALL, false, "double", { 21 } }
    assert.same({ OK, 42 }, next_message(child))
    child:send { CALL, false, "later", { "é" } }
    assert.same({ OK, { value = "é", pid = child.pid } }, next_message(child))
    child:send { CALL, false, "fail", orrery.array {} }
    local answer = next_message(child)

    assert.same({ CLIENT_ERROR, "RangeError", "refused" },
      table.move(answer, 1, 3, 1, {}))
  end)

  test("jest-worker", "ends when it is told to", function()
    local child <close> = start()
    child:send { END, false }

    assert.equal(0, child:wait(clients.TIME))
    helper.await_close(child)
  end)

  test("jest-worker", "does 1,000 calls with three others", function()
    local results, jobs = {}, {}
    for place = 1, 4 do
      jobs[place] = function()
        local child <close> = start()
        for i = place, 1000, 4 do
          child:send { CALL, false, "double", { i } }
          results[i] = next_message(child)[2]
        end
      end
    end
    orrery.all(jobs)

    for i = 1, 1000 do assert.equal(2 * i, results[i]) end
  end)

  test("jest-worker", "cannot be given a channel of V8's, which we "
    .. "refuse", function()
    local ok, err = pcall(fork, "jest-worker",
      "build/workers/processChild.js", { serialization = "advanced" })

    assert.is_false(ok)
    assert.matches('serialization.*"msgpack" or "json".*"advanced"',
      tostring(err))
  end)
end)

describe("a worker of workerpool #clients", function()
  local function start()
    return fork("workerpool", "src/worker.js")
  end

  --- What it answers to a call. [w]
  local function call(child, method, ...)
    child:send { id = 1, method = method, params = { ... } }
    return next_message(child)
  end

  test("workerpool", "answers calls, and tells errors", function()
    local child <close> = start()
    assert.same({ id = 1, result = { "run", "methods" }, error = null },
      call(child, "methods"))
    assert.equal(42, call(child, "run", "(a, b) => a * b", { 6, 7 }).result)

    local failed = call(child, "run", "() => { throw new Error('no'); }", {})
    assert.equal(null, failed.result)
    assert.equal("no", failed.error.message)
  end)

  test("workerpool", "ends when it is told to, and with us", function()
    local told <close> = start()
    local left <close> = start()
    told:send "__workerpool-terminate__"
    left:disconnect()

    assert.equal(0, told:wait(clients.TIME))
    assert.equal(1, left:wait(clients.TIME))
    helper.await_close(told)
    helper.await_close(left)
  end)
end)

describe("a worker of tinypool #clients", function()
  --- Starts one that has loaded the module, with a function of it. [w]
  local function start()
    local child = fork("tinypool", "dist/entry/process.js",
      { env_extend = { TINYPOOL_WORKER_ID = "1" } })
    child:send { __tinypool_worker_message__ = true, source = "pool",
      filename = MODULE, name = "double" }
    assert.same({ __tinypool_worker_message__ = true, source = "pool",
      ready = true }, next_message(child))
    return child
  end

  --- What it answers to a task. [w]
  local function ask(child, name, task)
    child:send { __tinypool_worker_message__ = true, source = "port",
      taskId = 1, filename = MODULE, name = name, task = task }
    return next_message(child)
  end

  test("tinypool", "is ready, answers tasks, and tells errors", function()
    local child <close> = start()
    local answer = ask(child, "later", "task")
    assert.same({ value = "task", pid = child.pid }, answer.result)
    assert.equal(null, answer.error)

    assert.equal(42, ask(child, "double", 21).result)
    local failed = ask(child, "fail").error
    assert.same({ "RangeError", "refused" }, { failed.name, failed.message })
  end)

  test("tinypool", "is stopped by SIGTERM, as its pool does", function()
    local child <close> = start()

    local result = child:stop()
    assert.same({ "SIGTERM", false }, { result.signal, result.forced })
    helper.await_close(child)
  end)
end)
