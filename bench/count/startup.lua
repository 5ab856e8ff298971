--- Prints what `orrery -e ''` takes from its first line to its exit: VM
--- instructions, allocations, and the bytes of bytecode of the modules that it
--- loads. For lua5.4 to run from the project's root.

package.cpath = "build/bench/?.so;" .. package.cpath
local counts = require "counts"

--- Returns the size of the bytecode of all modules of ours that are loaded.
local function bytecode()
  local size = 0
  for name in pairs(package.loaded) do
    local path = name:find("^orrery%f[.\0]")
      and package.searchpath(name, package.path)
    if path then
      local chunk = assert(loadfile(path))
      size = size + #string.dump(chunk)
    end
  end
  return size
end

--- Makes the process print its figures as the last thing before it exits.
local function print_at_exit()
  local self_process = require "orrery.core".process()
  local methods = debug.getmetatable(self_process).__index
  local exit = methods.exit
  function methods.exit(...)
    local instructions, allocations = counts.read()
    print(("instructions %d"):format(instructions))
    print(("allocations %d"):format(allocations))
    print(("bytecode %d"):format(bytecode()))
    exit(...)
  end
end

_G.print_at_exit = print_at_exit
_G.arg = { [-1] = arg[-1], [0] = "bin/orrery", "-e", "print_at_exit()" }
counts.start()
dofile "bin/orrery"
