std = "lua54"
max_line_length = 80
max_cyclomatic_complexity = 12
unused_args = false
ignore = { "212/self" }
exclude_files = { "build" }
files["spec"].std = "lua54+busted"
