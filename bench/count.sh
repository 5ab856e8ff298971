#!/bin/sh
# count.sh [--check] [OPERATION...] - counts what operations take that does not
# depend on how fast the machine is:
#
#   system calls   of this process, and of its child: until it executes a
#                  program, and after that if the program is Lua
#   VM instr.      that Lua executes in this process
#   allocations    by Lua in this process
#   child's faults pages that a child touches for the first time, to its end
#   bytecode       bytes of the modules that are loaded
#
# The figures are for one operation (bench/count/operations.lua), as the
# difference between twice as many of them and so many: fixed costs cancel out.
# With OPERATIONs it counts these alone and names their system calls. --check
# holds the figures against bench/bounds.txt, and exits with 1 if one is above
# its bound or could not be counted.
cd "$(dirname "$0")/.." || exit 2
make --no-print-directory -s build count-programs || exit 2
exec env -i PATH="$PATH" "${LUA:-lua5.4}" bench/count/run.lua "$@"
