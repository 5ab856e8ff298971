--- Scripts in a terminal of tmux's, run by an interactive bash: keys, jobs, a
--- pager, and the state that the terminal is left in.

local clients = require "spec.fixture.clients"
local helper = require "spec.helper"
local orrery = require "orrery"
local uv = require "luv"

local run = helper.run

--- Opens a terminal with bash, whose prompt shows the last exit status. It ends
--- with the variable. [w]
local function open(folder)
  local env = { HOME = folder.path, SHELL = "/bin/sh", HISTFILE = false,
    PATH = uv.cwd() .. "/bin:" .. os.getenv("PATH"), PS1 = "[$?]> ",
    LESS = false, LESSOPEN = false, TMUX = false, TERM = "screen" }
  local function tmux(...)
    return clients.output({ "tmux", "-S", folder.path .. "/socket", "-f",
      "/dev/null", ... }, { env_extend = env, trim = true })
  end
  local terminal = {}
  --- Presses keys by their names; types what is no name.
  function terminal:press(...) tmux("send-keys", ...) end
  --- Types a line.
  function terminal:enter(text)
    tmux("send-keys", "-l", text)
    tmux("send-keys", "Enter")
  end
  --- Waits until the screen has a text at its end, and returns the screen.
  function terminal:await(pattern)
    local screen
    local came, err = pcall(helper.eventually, function()
      screen = tmux("capture-pane", "-p"):gsub("%s+$", "")
      if screen:find(pattern .. "$") then return true end
      orrery.sleep(10) -- what is waited for needs the processor, too
    end, 60000)
    if not came then error(err .. "; the screen:\n" .. screen, 0) end
    return screen
  end
  --- What the terminal does with bytes, as stty tells it.
  function terminal:state()
    self:enter("clear; stty -a | cksum")
    return self:await("%d+ %d+\n%[0%]>"):match("(%d+ %d+)\n%[0%]>$")
  end
  tmux("new-session", "-d", "-x", "80", "-y", "24", "bash", "--norc",
    "--noprofile")
  local pid = tonumber(tmux("display-message", "-p", "#{pid}"))
  terminal:await("%[0%]>")
  return setmetatable(terminal, { __close = function()
    orrery.process.kill(pid, "SIGTERM") -- if it still has a session
    helper.await_end(pid)
  end })
end

--- Defines a test that has a terminal, a folder, and needs more programs.
local function test(name, needs, fn)
  it(name, function()
    clients.need("tmux", "bash", table.unpack(needs))
    run(function()
      local folder <close> = clients.folder()
      local terminal <close> = open(folder)
      fn(terminal, folder)
    end, clients.TIME)
  end)
end

describe("a script in a terminal #clients", function()
  test("ends by Ctrl-C, with its child", {}, function(terminal, folder)
    terminal:enter("orrery " .. folder:write("x.lua", [[
      local child = require "orrery".spawn("sleep", {"1000"},
        {stdio = "inherit"})
      print("child", child.pid)
      child:wait()]]))
    local pid = terminal:await("child%s+%d+"):match("(%d+)$")
    terminal:press("C-c")

    terminal:await("%^C\n%[130%]>")
    helper.await_end(tonumber(pid))
  end)

  test("stops by Ctrl-Z and goes on by fg", {}, function(terminal, folder)
    terminal:enter("orrery " .. folder:write("x.lua", [[
      print "ready"
      for line in require "orrery".process.stdin:lines() do
        print("got " .. line)
      end
      print "end"]]))
    terminal:await("ready")
    terminal:enter("one")
    terminal:await("got one")
    terminal:press("C-z")
    terminal:await("Stopped.*%[148%]>")

    terminal:enter("fg")
    terminal:await("fg\norrery [^\n]+")
    terminal:enter("two")
    terminal:await("got two")
    terminal:press("C-d")
    terminal:await("end\n%[0%]>")
  end)

  test("takes files, pipes and closed fds as any tool does", {},
    function(terminal, folder)
      folder:write("in", "a\nb\n")
      folder:write("x.lua", [[
        local n = 0
        for _ in io.lines() do n = n + 1 end
        print("lines", n)
        io.stderr:write("warned\n")]])
      terminal:enter("cd; orrery x.lua <in")
      terminal:await("lines%s+2\nwarned\n%[0%]>")
      terminal:enter("orrery x.lua <in 2>&1 | tee out | sort; echo over")
      terminal:await("lines%s+2\nwarned\nover\n%[0%]>")
      assert.equal("lines\t2\nwarned\n", folder:read("out"))
      terminal:enter("orrery -e 'print(io.read())' <&- && "
        .. "orrery -e 'print(1)' >&- 2>&- && orrery -e 'os.exit(3)' <&- >&-")
      terminal:await("nil\n%[3%]>")
    end)

  test("goes on without its terminal under nohup", {},
    function(terminal, folder)
      folder:write("x.lua", [[
        local orrery = require "orrery"
        print(orrery.process.pid)
        orrery.net.create_server(function() orrery.process.exit() end)
          :listen({path = "]] .. folder.path .. [[/s"})]])
      terminal:enter("cd; nohup orrery x.lua >out 2>&1 &")
      local pid = clients.await_text(folder, "out", "(%d+)\n$")
      terminal:enter("disown; exec kill -HUP $$")

      helper.eventually(function()
        local socket = orrery.net.connect { path = folder.path .. "/s" }
        if not socket then return false end
        socket:destroy()
        return true
      end)
      helper.await_end(tonumber(pid))
    end)
end)

describe("a pager #clients", function()
  local PAGER = [[
    local orrery = require "orrery"
    local pager = orrery.spawn("less", {},
      {stdio = {"pipe", "inherit", "inherit"}})
    for i = 1, 1000000 do
      if not pager.stdin:write_wait("line " .. i .. "\n") then break end
    end
    pager.stdin:finish()
    print("less", pager:wait())]]

  test("that a script feeds is left with q, before it has read all",
    { "less" }, function(terminal, folder)
      local path = folder:write("x.lua", PAGER)
      local before = terminal:state()
      terminal:enter("orrery " .. path)
      terminal:await("line 23\n:")
      terminal:press("Space")
      terminal:await("line 46\n:")
      terminal:press("q")

      terminal:await("less%s+0\n%[0%]>")
      assert.equal(before, terminal:state())
    end)

  test("that reads a script's output is left with q, which ends both",
    { "less" }, function(terminal)
      terminal:enter(
        "orrery -e 'for i = 1, math.huge do print(i) end' | less")
      terminal:await("23\n:")
      terminal:press("q")
      terminal:await("%[0%]>")

      terminal:enter("orrery -e 'while true do print(1) end' | head -1; "
        .. "echo ${PIPESTATUS[0]}")
      terminal:await("\n1\n141\n%[0%]>")
    end)

  test("stays when Ctrl-C is for it, if the script listens", { "less" },
    function(terminal, folder)
      local path = folder:write("x.lua",
        [[require "orrery".process.on("SIGINT", function() end)]] .. PAGER)
      local before = terminal:state()
      terminal:enter("orrery " .. path)
      terminal:await("line 23\n:")
      terminal:press("C-c")
      helper.eventually(function() -- less drops what is typed with a Ctrl-C
        terminal:press("j")
        return terminal:await("line %d+\n:"):find("line 24\n", 1, true)
      end)
      terminal:press("q")

      terminal:await("less%s+0\n%[0%]>")
      assert.equal(before, terminal:state())
    end)
end)
