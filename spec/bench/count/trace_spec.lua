local trace = require "bench.count.trace"

describe("bench.count.trace", function()
  local log = [[
7 execve("bin/orrery", ["bin/orrery"], 0x1 /* 1 var */) = 0
7 clone(child_stack=0x1, flags=CLONE_VM|CLONE_VFORK <unfinished ...>
8 dup3(3, 0, 0) = 0
8 execve("/usr/bin/true", ["true"], 0x1 /* 1 var */ <unfinished ...>
7 <... clone resumed>) = 8
8 <... execve resumed>) = 0
8 brk(NULL) = 0x1
8 +++ exited with 0 +++
7 --- SIGCHLD {si_signo=SIGCHLD} ---
7 clone(child_stack=0x1, flags=CLONE_VM|CLONE_VFORK) = 8
8 execve("/no/lua5.4", ["lua5.4"], 0x1 /* 1 var */) = -1 ENOENT (No such file)
8 dup3(3, 0, 0) = 0
8 execve("/usr/bin/lua5.4", ["lua5.4"], 0x1 /* 1 var */) = 0
8 brk(NULL) = 0x1
]]

  it("tells whose calls are whose", function()
    local calls = trace.read(log:gmatch "[^\n]+")

    assert.same({
      ["own execve"] = 1,
      ["own clone"] = 2,
      ["child dup3"] = 2,
      ["child execve"] = 3,
      ["child brk"] = 1,
      ["other brk"] = 1,
    }, calls.names)
    assert.equal(3, calls.own)
    assert.equal(6, calls.child)
  end)
end)
