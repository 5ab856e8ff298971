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

dependencies = { "lua >= 5.4, < 5.5", "luv >= 1.44" }

external_dependencies = { JANSSON = { header = "jansson.h" } }

build = {
  type = "builtin",
  modules = {
    ["orrery.core"] = {
      sources = {
        "core/buffer.c", "core/channel.c", "core/channel_receive.c",
        "core/channel_send.c", "core/errnos.c", "core/launch.c", "core/launch_child.c",
        "core/lua_compiled.c", "core/lua_core.c", "core/lua_fd.c", "core/lua_fork.c",
        "core/lua_luv.c", "core/lua_msgpack.c", "core/lua_poller.c", "core/lua_process.c",
        "core/lua_shape.c", "core/lua_socket.c", "core/lua_spawn.c", "core/reaper.c",
        "core/signals.c",
      },
      defines = { "_GNU_SOURCE" },
      incdirs = { "core" },
      libraries = { "dl" },
    },
    ["orrery.json"] = {
      sources = {
        "core/json/decode.c", "core/json/encode.c", "core/json/lua_json.c",
        "core/json/mend.c", "core/json/number.c", "core/lua_shape.c",
      },
      defines = { "_GNU_SOURCE" },
      incdirs = { "$(JANSSON_INCDIR)" },
      libdirs = { "$(JANSSON_LIBDIR)" },
      libraries = { "jansson" },
    },
    ["orrery"] = "lua/orrery/init.lua",
    ["orrery.address"] = "lua/orrery/address.lua",
    ["orrery.channel"] = "lua/orrery/channel.lua",
    ["orrery.channel_json"] = "lua/orrery/channel_json.lua",
    ["orrery.channel_msgpack"] = "lua/orrery/channel_msgpack.lua",
    ["orrery.channel_receiving"] = "lua/orrery/channel_receiving.lua",
    ["orrery.child"] = "lua/orrery/child.lua",
    ["orrery.child_process"] = "lua/orrery/child_process.lua",
    ["orrery.cli"] = "lua/orrery/cli.lua",
    ["orrery.clock"] = "lua/orrery/clock.lua",
    ["orrery.collect"] = "lua/orrery/collect.lua",
    ["orrery.compiled"] = "lua/orrery/compiled.lua",
    ["orrery.dgram"] = "lua/orrery/dgram.lua",
    ["orrery.elsewhere"] = "lua/orrery/elsewhere.lua",
    ["orrery.endpoint"] = "lua/orrery/endpoint.lua",
    ["orrery.ends"] = "lua/orrery/ends.lua",
    ["orrery.errors"] = "lua/orrery/errors.lua",
    ["orrery.events"] = "lua/orrery/events.lua",
    ["orrery.exec"] = "lua/orrery/exec.lua",
    ["orrery.file"] = "lua/orrery/file.lua",
    ["orrery.fork"] = "lua/orrery/fork.lua",
    ["orrery.forked"] = "lua/orrery/forked.lua",
    ["orrery.handles"] = "lua/orrery/handles.lua",
    ["orrery.inspect"] = "lua/orrery/inspect.lua",
    ["orrery.loop"] = "lua/orrery/loop.lua",
    ["orrery.main"] = "lua/orrery/main.lua",
    ["orrery.messaging"] = "lua/orrery/messaging.lua",
    ["orrery.net"] = "lua/orrery/net.lua",
    ["orrery.net_connect"] = "lua/orrery/net_connect.lua",
    ["orrery.net_server"] = "lua/orrery/net_server.lua",
    ["orrery.net_socket"] = "lua/orrery/net_socket.lua",
    ["orrery.options"] = "lua/orrery/options.lua",
    ["orrery.pipe_reader"] = "lua/orrery/pipe_reader.lua",
    ["orrery.pipeline"] = "lua/orrery/pipeline.lua",
    ["orrery.poller"] = "lua/orrery/poller.lua",
    ["orrery.process"] = "lua/orrery/process.lua",
    ["orrery.run"] = "lua/orrery/run.lua",
    ["orrery.scheduler"] = "lua/orrery/scheduler.lua",
    ["orrery.scope"] = "lua/orrery/scope.lua",
    ["orrery.spawn"] = "lua/orrery/spawn.lua",
    ["orrery.std"] = "lua/orrery/std.lua",
    ["orrery.stdio"] = "lua/orrery/stdio.lua",
    ["orrery.stream_writing"] = "lua/orrery/stream_writing.lua",
    ["orrery.stream"] = "lua/orrery/stream.lua",
    ["orrery.sync"] = "lua/orrery/sync.lua",
    ["orrery.task"] = "lua/orrery/task.lua",
  },
  install = { bin = { orrery = "bin/orrery" } },
  copy_directories = { "scripts", "docs" },
}

test = { type = "command", command = "make test" }
