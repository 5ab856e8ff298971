-- What a program can know of itself: prints a line for each property.

local process = require "orrery".process

for _, name in ipairs {
  "pid", "ppid", "platform", "arch", "version",
  "exec_path", "script", "script_dir",
} do
  print(name, process[name])
end
for name, version in pairs(process.versions) do
  print("versions." .. name, version)
end
print("HOME", process.env.HOME)
