std = "lua54"
max_line_length = 80
max_cyclomatic_complexity = 12
unused_args = false
ignore = { "212/self" }
exclude_files = { "build" }
files["spec"].std = "lua54+busted"

-- What reads at 80 columns already: the rest follows file by file.
for _, path in ipairs { "bench", "scripts", "bin" } do
  files[path].max_line_length = 80
  files[path].max_cyclomatic_complexity = 12
end
