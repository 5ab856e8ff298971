--- `pipeline`: programs joined by pipes, with no data passing through here.

local core = require "orrery.core"
local arguments = require "orrery.child_process.arguments"
local capture = require "orrery.child_process.capture"
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"
local spawn = require "orrery.child_process.spawn"
local stdio = require "orrery.child_process.stdio"

local MAX_BUFFER = 100 * 1024 * 1024 -- bytes a stream

local self_process = core.process()
local SIGPIPE = 128 + core.signals.SIGPIPE

local schema = options.copy(capture.schema)
schema.stdio = nil -- the stages' stdio is the pipeline

--- A string is what is read; else it must be something that stdio takes.
function schema.stdin(value)
  if type(value) ~= "string"
    and not pcall(stdio.check, "pipeline", { value }, 1) then
    return "a string, a stream, an fd or {file=path}"
  end
end

--- Splits {stage, stage, …, option=…}: how many stages, the options.
local function split(spec)
  local opts, count = {}, 0
  for key, value in next, spec do
    if math.type(key) == "integer" and key > 0 then
      count = math.max(count, key)
    else
      opts[key] = value
    end
  end
  return count, opts
end

--- The stages as lists of their own, and the options.
local function parse(spec)
  local count, opts = 0, nil
  if type(spec) == "table" then count, opts = split(spec) end
  if count == 0 then
    options.raise("pipeline: a list of stages {{command, args…}, …} expected, "
      .. "got %s", options.show(spec))
  end
  local stages = {}
  for i = 1, count do
    local stage = spec[i]
    if type(stage) ~= "table" then
      options.raise("pipeline: stage %d must be a list {command, args…}, got "
        .. "%s", i, options.show(stage))
    end
    stages[i] = arguments.split("pipeline", stage, nil, nil)
  end
  return stages, options.check("pipeline", opts, schema)
end

--- Where the first stage reads, and what is written to it.
local function source(stdin)
  if type(stdin) == "string" then return "pipe", stdin end
  return stdin or "ignore"
end

--- Starts all stages. The children; nil, err where one cannot start.
local function start_all(stages, opts, stdin)
  local children = {}
  for i, argv in ipairs(stages) do
    local own = capture.spawn_options(opts)
    own.stdio = { stdin, "pipe", "pipe" }
    local child = spawn.start("pipeline", argv, own)
    children[i] = child
    if not child.pid then
      local _, err = child:wait()
      return nil, err, children
    end
    -- Our end of the pipe is the next stage's alone: its SIGPIPE must reach this one.
    if i > 1 then children[i - 1].stdout:destroy() end
    stdin = child.stdout
  end
  return children
end

local function stop_all(children)
  for _, child in ipairs(children) do
    if child.pid then
      child:kill("SIGKILL")
      child:wait()
      child.ends_:close()
    end
  end
end

--- A stage's own result; an earlier one may end by SIGPIPE.
local function stage_result(job, argv, last)
  local result = capture.result(job, table.concat(argv, " "), capture.await(job))
  if not last and result.code == SIGPIPE then
    result.ok = not result.timed_out and not result.truncated
  end
  return result
end

-- What is true of the whole where it is true of a stage.
local flags = {
  "timed_out", "truncated", "killed", "forced", "stdio_incomplete",
}

--- What the pipeline as a whole came to.
local function sum_up(results)
  local whole, commands = options.copy(results[#results]), {}
  whole.stages, whole.stderr = results, ""
  for i, result in ipairs(results) do
    whole.ok = whole.ok and result.ok
    whole.error = whole.error or result.error
    for _, name in ipairs(flags) do
      whole[name] = whole[name] or result[name]
    end
    whole.stderr = whole.stderr .. result.stderr
    commands[i] = result.command
  end
  whole.command = table.concat(commands, " | ")
  return whole
end

--- Waits for all stages.
local function await(children, stages, opts, begun)
  local jobs, tasks = {}, {}
  for i, child in ipairs(children) do
    jobs[i] = capture.start(child, opts, MAX_BUFFER)
  end
  for i, job in ipairs(jobs) do
    tasks[i] = function() return stage_result(job, stages[i], i == #stages) end
  end
  local whole = sum_up(require "orrery.task".all(tasks))
  whole.duration = (self_process:hrtime() - begun) / 1e6
  return whole
end

--- Joins programs by pipes and runs them to their end. [w]
---
---     pipeline{ {"ls", "-l"}, {"wc", "-l"} }
---
--- @param spec table stages {command, args…}; and options: stdin (a string, a
---   stream, {file=}; at its end without), and those of run that bound it
--- @return Result? result of the last stage, with `stages` and all stderr; ok when
---   all are, timed_out, killed … when one is. nil, err where a stage could not
---   start: the others are stopped
--- @return Error? err
local function pipeline(spec)
  local stages, opts = parse(spec)
  scheduler.check_may_wait("pipeline")
  local begun = self_process:hrtime()
  local stdin, input = source(opts.stdin)
  local words = {}
  for i, argv in ipairs(stages) do words[i] = { table.unpack(argv) } end
  local children, err, started = start_all(stages, opts, stdin)
  if not children then
    scheduler.shield(stop_all, started)
    return nil, err
  end
  if input then children[1].stdin:finish(input) end
  return await(children, words, opts, begun)
end

return pipeline
