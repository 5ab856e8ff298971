--- The entries {file=path} of the option `stdio`.

local helper = require "spec.helper"
local orrery = require "orrery"

local core, run = orrery.core, helper.run

--- Returns the path of a new FIFO.
local function make_fifo()
  local path = os.tmpname()
  os.remove(path)
  assert(orrery.run("mkfifo", { path }).ok)
  return path
end

local function cat(path)
  return orrery.run("cat", {}, { stdio = { { file = path } }, timeout = 10000 })
end

describe("stdio {file=}", function()
  it("fault B6: refuses a FIFO whose other end no process has open", function()
    run(function()
      local path = make_fifo()
      local _, unwritten = cat(path)
      local _, unread = orrery.run("true", {},
        { stdio = { "ignore", { file = path, mode = "w" } } })
      local sync =
        orrery.spawn_sync("cat", {}, { stdio = { { file = path } } }).error
      os.remove(path)

      for i = 1, 3 do
        local err = assert(({ unwritten, unread, sync })[i], i)
        local told = { err.code, err.stage, err.path }
        assert.same({ "ENXIO", "open", path }, told)
        assert.matches("other end of this FIFO .* start that one first",
          err.message)
      end
    end)
  end)

  it("takes nothing from a FIFO that has a writer", function()
    run(function()
      local path = make_fifo()
      local writer = core.open(path, "r+")
      local child = orrery.spawn("head", { "-n", "1" },
        { stdio = { { file = path } } })
      local early = child.stdout:read(nil, 1)
      writer:write "line\n"
      local late = child.stdout:read_all()
      child:wait()
      writer:write "waits\n"
      local waits = orrery.run("head", { "-n", "1" },
        { stdio = { { file = path } } })
      writer:close()
      os.remove(path)

      assert.same({ nil, "line\n", "waits\n" }, { early, late, waits.stdout })
    end)
  end)

  it("takes a pipe without a name as it is", function()
    run(function()
      local reading <close>, writing = core.pipe()
      writing:write "text"
      writing:close()
      local path = "/proc/self/fd/" .. reading:fileno()

      assert.equal("text", cat(path).stdout)
      assert.equal("", cat(path).stdout)
    end)
  end)
end)
