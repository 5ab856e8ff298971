rockspec_format = "3.0"
package = "orrery"
version = "scm-1"

source = { url = "git+file://." }

description = {
  summary = "Process orchestration, scripted in Lua",
  detailed = [[
What Node's process, child_process and cluster are for JavaScript, for Lua 5.4
on luv: starts, watches and ends processes, with tasks and supervision on top.
Linux 5.4 or later, x86-64 or ARM64.]],
  license = "MIT",
}

supported_platforms = { "linux" }

dependencies = { "lua >= 5.4", "luv >= 1.44" }

-- By make, so that there is bytecode. JSON is left out if there is no
-- jansson.h, HTTP if there is no llhttp.
build = {
  type = "make",
  build_target = "build",
  variables = {
    LUA = "$(LUA)", LUA_INC = "$(LUA_INCDIR)",
    -- A rock of luv is in the same tree, whose lib/luarocks/rocks-5.4/orrery/
    -- scm-1/lib this is.
    LUV = "$(LIBDIR)/../../../../../lua",
  },
  install_variables = {
    SHARE = "$(LUADIR)", LIB = "$(LIBDIR)", BIN = "$(BINDIR)",
    COPIED = "true",
  },
  copy_directories = { "scripts", "docs" },
}

-- bin/orrery finds the modules and luv of its tree by itself, at once; the
-- wrapper would load luarocks at each start.
deploy = { wrap_bin_scripts = false }

test = { type = "command", command = "make -s build && busted" }
