--- Terminals that come with a message.

local helper = require "spec.helper"
local terminal = require "spec.fixture.terminal"

local run = helper.run

--- Receives the terminal that it runs on ten times, closes what it gets, and
--- tells how many fds it then has more than after the first time.
local SCRIPT = [[
  local orrery, uv = require "orrery", require "luv"
  local attachments = require "orrery.channel.attachments"
  local core = orrery.core
  local function count()
    local n, scan = 0, uv.fs_scandir("/proc/self/fd")
    while uv.fs_scandir_next(scan) do n = n + 1 end
    return n
  end
  local function receive(description)
    local handle = assert(attachments.opener(description, core.dup(0))())
    if description.type == "stream" then handle:read(nil, 1) end
    assert(uv.guess_handle(handle:fileno()) == "tty")
    handle:close()
    orrery.sleep(1)
  end
  for _, description in ipairs {
    {type = "stream"}, {type = "luv", kind = "tty"} } do
    receive(description)
    local before = count()
    for _ = 1, 10 do receive(description) end
    print(description.type, count() - before)
  end]]

describe("a terminal that comes with a message", function()
  it("fault B9: takes one fd, and gives it back", function()
    run(function()
      local _, text = terminal.cli(SCRIPT)

      assert.equal("stream\t0\nluv\t0\n", text)
    end)
  end)
end)
