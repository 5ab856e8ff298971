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
        "core/binding/binding.c", "core/binding/bytecode.c",
        "core/binding/channel.c", "core/binding/core.c", "core/binding/fd.c",
        "core/binding/luv.c", "core/binding/msgpack_decode.c",
        "core/binding/msgpack_encode.c", "core/binding/poller.c",
        "core/binding/process.c", "core/binding/program.c",
        "core/binding/socket.c", "core/binding/spawn.c", "core/binding/utf8.c",
        "core/binding/values.c", "core/engine/buffer.c",
        "core/engine/channel.c", "core/engine/channel_receive.c",
        "core/engine/channel_send.c", "core/engine/io.c",
        "core/engine/launch.c", "core/engine/launch_child.c",
        "core/engine/names.c", "core/engine/reaper.c",
      },
      defines = { "_GNU_SOURCE" },
      incdirs = { "core" },
      libraries = { "dl" },
    },
    ["orrery.json"] = {
      sources = {
        "core/binding/utf8.c", "core/binding/values.c", "core/json/decode.c",
        "core/json/encode.c", "core/json/json.c", "core/json/mend.c",
        "core/json/number.c",
      },
      defines = { "_GNU_SOURCE" },
      incdirs = { "core", "$(JANSSON_INCDIR)" },
      libdirs = { "$(JANSSON_LIBDIR)" },
      libraries = { "jansson" },
    },
    ["orrery"] = "lua/orrery/init.lua",
    ["orrery.channel.attachments"] = "lua/orrery/channel/attachments.lua",
    ["orrery.channel.callback"] = "lua/orrery/channel/callback.lua",
    ["orrery.channel.channel"] = "lua/orrery/channel/channel.lua",
    ["orrery.channel.given_away"] = "lua/orrery/channel/given_away.lua",
    ["orrery.channel.inherit"] = "lua/orrery/channel/inherit.lua",
    ["orrery.channel.json_wire"] = "lua/orrery/channel/json_wire.lua",
    ["orrery.channel.messaging"] = "lua/orrery/channel/messaging.lua",
    ["orrery.channel.msgpack_wire"] = "lua/orrery/channel/msgpack_wire.lua",
    ["orrery.channel.receiving"] = "lua/orrery/channel/receiving.lua",
    ["orrery.channel.requests"] = "lua/orrery/channel/requests.lua",
    ["orrery.channel.states"] = "lua/orrery/channel/states.lua",
    ["orrery.child_process"] = "lua/orrery/child_process.lua",
    ["orrery.child_process.arguments"] =
      "lua/orrery/child_process/arguments.lua",
    ["orrery.child_process.capture"] = "lua/orrery/child_process/capture.lua",
    ["orrery.child_process.child"] = "lua/orrery/child_process/child.lua",
    ["orrery.child_process.ends"] = "lua/orrery/child_process/ends.lua",
    ["orrery.child_process.environment"] =
      "lua/orrery/child_process/environment.lua",
    ["orrery.child_process.exec"] = "lua/orrery/child_process/exec.lua",
    ["orrery.child_process.fork"] = "lua/orrery/child_process/fork.lua",
    ["orrery.child_process.options"] = "lua/orrery/child_process/options.lua",
    ["orrery.child_process.ownership"] =
      "lua/orrery/child_process/ownership.lua",
    ["orrery.child_process.pipeline"] = "lua/orrery/child_process/pipeline.lua",
    ["orrery.child_process.reaper"] = "lua/orrery/child_process/reaper.lua",
    ["orrery.child_process.run"] = "lua/orrery/child_process/run.lua",
    ["orrery.child_process.spawn"] = "lua/orrery/child_process/spawn.lua",
    ["orrery.child_process.stdio"] = "lua/orrery/child_process/stdio.lua",
    ["orrery.child_process.sync"] = "lua/orrery/child_process/sync.lua",
    ["orrery.cli.bytecode"] = "lua/orrery/cli/bytecode.lua",
    ["orrery.cli.forked"] = "lua/orrery/cli/forked.lua",
    ["orrery.cli.main"] = "lua/orrery/cli/main.lua",
    ["orrery.cli.usage"] = "lua/orrery/cli/usage.lua",
    ["orrery.dgram"] = "lua/orrery/dgram.lua",
    ["orrery.events"] = "lua/orrery/events.lua",
    ["orrery.inspect"] = "lua/orrery/inspect.lua",
    ["orrery.net"] = "lua/orrery/net.lua",
    ["orrery.net.address"] = "lua/orrery/net/address.lua",
    ["orrery.net.binding"] = "lua/orrery/net/binding.lua",
    ["orrery.net.connecting"] = "lua/orrery/net/connecting.lua",
    ["orrery.net.datagram"] = "lua/orrery/net/datagram.lua",
    ["orrery.net.opening"] = "lua/orrery/net/opening.lua",
    ["orrery.net.server"] = "lua/orrery/net/server.lua",
    ["orrery.net.socket"] = "lua/orrery/net/socket.lua",
    ["orrery.process"] = "lua/orrery/process.lua",
    ["orrery.process.environment"] = "lua/orrery/process/environment.lua",
    ["orrery.process.exit"] = "lua/orrery/process/exit.lua",
    ["orrery.process.identity"] = "lua/orrery/process/identity.lua",
    ["orrery.process.signals"] = "lua/orrery/process/signals.lua",
    ["orrery.process.standard_streams"] = "lua/orrery/process/standard_streams.lua",
    ["orrery.process.usage"] = "lua/orrery/process/usage.lua",
    ["orrery.runtime.class"] = "lua/orrery/runtime/class.lua",
    ["orrery.runtime.clock"] = "lua/orrery/runtime/clock.lua",
    ["orrery.runtime.errors"] = "lua/orrery/runtime/errors.lua",
    ["orrery.runtime.fds"] = "lua/orrery/runtime/fds.lua",
    ["orrery.runtime.joining"] = "lua/orrery/runtime/joining.lua",
    ["orrery.runtime.loop"] = "lua/orrery/runtime/loop.lua",
    ["orrery.runtime.luv"] = "lua/orrery/runtime/luv.lua",
    ["orrery.runtime.main"] = "lua/orrery/runtime/main.lua",
    ["orrery.runtime.main_chunk"] = "lua/orrery/runtime/main_chunk.lua",
    ["orrery.runtime.options"] = "lua/orrery/runtime/options.lua",
    ["orrery.runtime.owning"] = "lua/orrery/runtime/owning.lua",
    ["orrery.runtime.poller"] = "lua/orrery/runtime/poller.lua",
    ["orrery.runtime.scheduler"] = "lua/orrery/runtime/scheduler.lua",
    ["orrery.runtime.signals"] = "lua/orrery/runtime/signals.lua",
    ["orrery.runtime.stuck"] = "lua/orrery/runtime/stuck.lua",
    ["orrery.runtime.unwinding"] = "lua/orrery/runtime/unwinding.lua",
    ["orrery.runtime.version"] = "lua/orrery/runtime/version.lua",
    ["orrery.runtime.watcher"] = "lua/orrery/runtime/watcher.lua",
    ["orrery.stream"] = "lua/orrery/stream.lua",
    ["orrery.stream.file_handle"] = "lua/orrery/stream/file_handle.lua",
    ["orrery.stream.pipe_reader"] = "lua/orrery/stream/pipe_reader.lua",
    ["orrery.stream.reading"] = "lua/orrery/stream/reading.lua",
    ["orrery.stream.writing"] = "lua/orrery/stream/writing.lua",
    ["orrery.task"] = "lua/orrery/task.lua",
    ["orrery.task.scope"] = "lua/orrery/task/scope.lua",
    ["orrery.task.subordinates"] = "lua/orrery/task/subordinates.lua",
    ["orrery.task.timers"] = "lua/orrery/task/timers.lua",
  },
  install = { bin = { orrery = "bin/orrery" } },
  copy_directories = { "scripts", "docs" },
}

test = { type = "command", command = "make test" }
