local helper = require "spec.helper"
local orrery = require "orrery"

local EXPECTED = [[
exit 7: code 7 signal 0 pidfd -1
signal after the end: -3
kill -9 $$: code 0 signal 9 pidfd -1
signal after the end: -3
no-such-program: -2 exec
/etc/passwd: -13 exec
stolen: unknown 1
many: 0 wrong, none left
]]

local CHANNEL = [[
both ways: flushed 0, read 32 32, good 6, then 0 -11
partial writes: waited 1, wrong 0, queued 0, partial 0
death: first 1, second 1, fd 1, then 0, cut 12, flush -32
64 MiB in pieces: linear
no memory: all seen 1, at least 1 fds, leaked 0
both ways: flushed 0, read 11 11, good 6, then 0 -11
partial writes: waited 1, wrong 0, queued 0, partial 0
death: first 1, second 1, fd 1, then 0, cut 12, flush -32
64 MiB in pieces: linear
no memory: all seen 1, at least 2 fds, leaked 0
long: wrong 0, failed 1, early 40, queued 0
flush 0, room -1
fds 0 to 252: good 253, lost 0, odd 0
fds 253 to 299: good 47, lost 0, odd 0
then 0, cut 0
flush 0, room 10
fds 0 to 252: good 10, lost 243, odd 0
fds 253 to 299: good 10, lost 37, odd 0
then 0, cut 0
flush 0, room 0
fds 0 to 252: good 0, lost 253, odd 0
fds 253 to 299: good 0, lost 47, odd 0
then 0, cut 0
closed: begin 0, flush -9, receive -9, next 0, take -1
leaked: 0
]]

--- Builds a fixture with parts of the engine and runs it. [w]
--- @return string stdout
local function run(fixture, parts, flags)
  local program = helper.tmpname()
  local built = assert(orrery.sh(("cc -std=c11 -D_GNU_SOURCE -g -Icore %s "
    .. "-fsanitize=address,undefined -fno-sanitize-recover=all "
    .. "-o %s spec/fixture/%s %s")
    :format(flags or "", program, fixture, parts)))
  assert.equal("", built.stderr)
  local result = assert(orrery.run(program))
  os.remove(program)
  assert.equal("", result.stderr)
  return result.stdout
end

describe("the engine #spawn", function()
  it("starts and reaps without Lua, under the sanitizers", function()
    helper.run(function()
      assert.equal(EXPECTED,
        run("engine.c", "core/engine/launch.c core/engine/launch_child.c "
          .. "core/engine/launch_keeper.c core/engine/reaper.c "
          .. "core/engine/io.c core/engine/ending.c"))
    end, 60000)
  end)
end)

describe("the engine's channel", function()
  it("talks without Lua, under the sanitizers, and where memory and fds end "
    .. "#long", function()
    helper.run(function()
      assert.equal(CHANNEL,
        run("channel.c",
          "core/engine/channel*.c core/engine/buffer.c core/engine/io.c",
        "-Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc"))
    end, 60000)
  end)
end)
