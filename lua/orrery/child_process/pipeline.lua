--- `pipeline`: programs joined by pipes, with no data passing through here.

local core = require "orrery.core"
local arguments = require "orrery.child_process.arguments"
local capture = require "orrery.child_process.capture"
local failure = require "orrery.child_process.run".failure
local options = require "orrery.runtime.options"
local scheduler = require "orrery.runtime.scheduler"
local spawn = require "orrery.child_process.spawn"
local stdio = require "orrery.child_process.stdio"

local MAX_BUFFER = 100 * 1024 * 1024 -- bytes a stream

local self_process = core.process()
local SIGPIPE = 128 + core.signals.SIGPIPE

local schema = options.copy(capture.schema)
schema.stdio = nil -- the stages' stdio is the pipeline
schema.check = options.checks.boolean

--- Checks the option `stdin`: text to be read, or something that stdio takes.
function schema.stdin(value)
  if type(value) == "string" then return end
  local ok, plan = pcall(stdio.check, "pipeline", { value })
  if not ok or plan.terminal then
    return "a string, a stream, an fd or {file=path}"
  end
end

--- Splits {stage, stage, …, option=…}. Returns how many stages, and the
--- options.
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

--- Returns the stages as lists of their own, and the options; raises unless
--- they are good.
local function parse(spec)
  local count, opts = 0, nil
  if type(spec) == "table" then count, opts = split(spec) end
  if count == 0 then
    options.raise("pipeline: a list of stages {{command, args…}, …} expected, "
      .. "got %s", options.got(spec))
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

--- Returns the stdio of the first stage, and the text that is to be written to
--- it.
local function source(stdin)
  if type(stdin) == "string" then return "pipe", stdin end
  return stdin or "ignore"
end

--- Starts all stages. Returns their children; nil, err, children if one cannot
--- start.
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
    -- Now that this stage has it, our copy of the pipe must go, or the stage
    -- before would get no SIGPIPE when this one ends.
    if i > 1 then children[i - 1].stdout:destroy() end
    stdin = child.stdout
  end
  return children
end

--- Kills a stage, reaps it, and closes its streams.
local function kill(stage)
  local child <close> = stage
  child:kill("SIGKILL")
  child:wait()
end

local function kill_all(children)
  for _, child in ipairs(children) do
    if child.pid then kill(child) end
  end
end

--- Waits for a stage. Returns its result, in which an earlier one than the last
--- may end by SIGPIPE.
local function stage_result(captured, argv, last)
  local result = captured:result(table.concat(argv, " "), captured:await())
  if not last and result.code == SIGPIPE then
    result.ok = not result.timed_out and not result.truncated
  end
  return result
end

-- What is true of the whole if it is true of one stage.
local flags = {
  "timed_out", "truncated", "killed", "forced", "stdio_incomplete",
}

--- Returns the result of the whole.
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

--- Waits for all stages. Returns the result.
local function await(children, stages, opts, begun)
  local captures, tasks = {}, {}
  for i, child in ipairs(children) do
    captures[i] = capture.start(child, opts, MAX_BUFFER)
  end
  for i, captured in ipairs(captures) do
    tasks[i] = function()
      return stage_result(captured, stages[i], i == #stages)
    end
  end
  local whole = sum_up(require "orrery.task".all(tasks))
  whole.duration = (self_process:hrtime() - begun) / 1e6
  return whole
end

--- Returns what `check` raises: it reads as what went wrong with the first
--- stage that failed, and has the result of the whole.
local function whole_failure(whole)
  for _, result in ipairs(whole.stages) do
    if not result.ok then
      local err = failure(result)
      err.result = whole
      return err
    end
  end
end

--- Joins programs by pipes and runs them to their end. [w]
---
---     pipeline{ {"ls", "-l"}, {"wc", "-l"} }
---
--- @param spec table stages {command, args…}; and options: stdin (a string, a
---   stream, {file=}; at its end without), check (raise unless ok, also if a
---   stage cannot start), and those of run that bound it: timeout, stdio_grace
---   (ms), max_buffer (bytes a stream, 100 MiB)
--- @return Result? result of the last stage, with `stages` and all stderr; ok
---   when all are, timed_out, killed … when one is
--- @return Error? err a stage could not start (ENOENT, EACCES, EMFILE …), and
---   the others are stopped
local function pipeline(spec)
  local stages, opts = parse(spec)
  scheduler.checkpoint("pipeline")
  local begun = self_process:hrtime()
  local stdin, input = source(opts.stdin)
  local words = {}
  for i, argv in ipairs(stages) do words[i] = { table.unpack(argv) } end
  local children, err, started = start_all(stages, opts, stdin)
  if not children then
    scheduler.shield(kill_all, started)
    if opts.check then error(err, 0) end
    return nil, err
  end
  if input then children[1].stdin:finish(input) end
  local whole = await(children, words, opts, begun)
  if opts.check and not whole.ok then error(whole_failure(whole), 0) end
  return whole
end

return pipeline
