-- Limits what a child may use: open files, its priority, its CPUs, and 1 s of
-- CPU time for a program that runs in circles. Prints what the children say of
-- themselves, and how the last one ended.
local orrery = require "orrery"

local limited = orrery.sh("ulimit -n; nice; nproc", {
  rlimits = {nofile = 32, core = 0}, -- or {nofile = {soft = 32, hard = 64}}
  nice = 5,                          -- absolute, not on top of ours
  cpu_affinity = {0},                -- the first CPU
})
io.write(limited.stdout)

-- Beyond the soft limit it gets SIGXCPU, and beyond the hard one SIGKILL.
local result = orrery.sh("while :; do :; done", {
  rlimits = {cpu = {soft = 1, hard = 2}},
})
print(result.signal, result.usage.user + result.usage.system >= 900000)

-- What may not be is no child at all, and says so.
local _, err = orrery.run("true", {}, {
  rlimits = {nofile = {soft = 9, hard = 8}},
})
print(err.code, err.stage, err.path)
