--- What those who start programs are called with: (command, args?, options?) or
--- ({command, args…}, options?), sorted out, checked, and written as the file
--- and the argv that the core is given.

local lists = require "orrery.runtime.argv"
local options = require "orrery.runtime.options"

local arguments = {}

local function check_command(where, command)
  if type(command) ~= "string" or command == ""
    or command:find("\0", 1, true) then
    options.raise("%s: the command must be a string, not empty and without NUL "
      .. "bytes, or a list {command, args…}, got %s", where,
      options.got(command))
  end
end

--- Tells whether a table in second place is options: it has names and no items.
local function is_options(value)
  return type(value) == "table" and #value == 0 and next(value) ~= nil
    and math.type(next(value)) ~= "integer"
end

--- Sorts out (command, args?, options?) and ({command, args…}, options?).
--- Raises unless command and arguments are good; the options are not checked.
--- @param where string the function's name, for the message
--- @return string[] argv a copy, with the command first
--- @return table? opts
function arguments.split(where, command, args, opts)
  local first = 1
  if type(command) == "table" then
    if opts ~= nil then
      options.raise("%s: with a list {command, args…} the options come second",
        where)
    end
    command, args, opts, first = command[1], command, args, 2
  elseif opts == nil and is_options(args) then
    args, opts = nil, args
  end
  check_command(where, command)
  return lists.of(where, command, args, first), opts
end

local function with(opts, name, value)
  if opts ~= nil and type(opts) ~= "table" then return opts end
  opts = options.copy(opts or {})
  opts[name] = value
  return opts
end

--- Returns a call's arguments with one more option, or another value of it.
--- What is bad in them stays as it is, for `split` and `options.check` to find.
--- @param name string of the option
--- @return any command
--- @return any args
--- @return any opts
function arguments.with(name, value, command, args, opts)
  if type(command) == "table" then
    return command, with(args, name, value), opts
  elseif opts == nil and is_options(args) then
    return command, nil, with(args, name, value)
  end
  return command, args, with(opts, name, value)
end

--- Quotes a word, if it has to be: for sh, bash, dash, ksh, zsh and fish. In
--- the quotes of fish a backslash means something, so it never stands in them;
--- zsh replaces a word that begins with "=", and fish one with "%".
local function quote(word)
  if word:find("^[%w+,./:@_-]+$") then return word end
  return "'" .. word:gsub("[\\']", "'\\%0'") .. "'"
end

--- Returns the file to run and its argv by the options `shell` and `argv0`.
--- With a shell the command is a line for it, and the arguments are quoted.
--- Raises if the shell is csh, in which no quotes keep a "!" or a newline.
--- @param where string the function's name, for the message
--- @param argv string[] as `split` makes it; may be changed
--- @param opts table checked
--- @return string file
--- @return string[] argv
function arguments.command_line(where, argv, opts)
  local command = argv[1]
  if not opts.shell then
    argv[1] = opts.argv0 or command
    return command, argv
  end
  local shell = opts.shell == true and "/bin/sh" or opts.shell
  if argv[2] and shell:find("csh$") then
    options.raise("%s: option 'shell': arguments cannot be quoted for %s: make "
      .. "them part of the command, or use another shell", where, shell)
  end
  for i = 2, #argv do command = command .. " " .. quote(argv[i]) end
  return shell, { opts.argv0 or shell, "-c", command }
end

return arguments
