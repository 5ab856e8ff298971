--- What becomes of a child's fds: turns the option `stdio` into a plan, which
--- can be checked before anything exists, and a plan into a wiring: fds to hand
--- over, and the ends that stay here.

local core = require "orrery.core"
local errors = require "orrery.runtime.errors"
local fds = require "orrery.runtime.fds"
local options = require "orrery.runtime.options"
local stream = require "orrery.stream"

local stdio = {}

local PIPE_SIZE = 256 * 1024 -- bytes; 64 KiB costs throughput on two CPUs
local MAX_FD = 1023
local ENXIO = core.errnos.ENXIO

local words = {
  pipe = true, socket = true, ignore = true, inherit = true, stdout = true,
  ipc = true, pty = true,
}
local ROWS, COLS = 24, 80 -- of a terminal, unless its entry says more

--- Returns the fd of a number, stream, luv handle or orrery.fd, or nil.
local function fd_of(value)
  if type(value) == "table" and rawget(value, "file") then return nil end
  return fds.number(value)
end

local file_modes = { r = true, w = true, a = true }

--- Returns why a value is no good {file=path, mode=m}; nil if it is good, and
--- true if it is no such table at all.
local function bad_file(value)
  if type(value) ~= "table" or rawget(value, "file") == nil then return true end
  if options.checks.string(value.file) then
    return "{file=path}: the path must be a string without NUL bytes"
  elseif not file_modes[value.mode or "r"] then
    return '{file=path, mode=m}: the mode must be "r", "w" or "a", got '
      .. options.show(value.mode)
  end
end

local is_size = options.integer(1, 0xffff)
local pty_options = {
  pty = function(value) if value ~= true then return "true" end end,
  rows = is_size,
  cols = is_size,
}

--- Returns why a value is no good {pty=true, rows=n, cols=n}; nil if it is.
local function bad_pty(value)
  for name, given in next, value do
    local check = pty_options[name]
    local expected = check and check(given)
    if not check then
      return ("{pty=true}: unknown field %s; did you mean '%s'?"):format(
        options.show(name), options.nearest(tostring(name), pty_options))
    elseif expected then
      return ("{pty=true}: the field '%s' must be %s, got %s"):format(name,
        expected, options.got(given))
    end
  end
end

--- Returns why an entry for child fd `fd` is bad; nil if it is good, and then
--- whether it asks for a terminal.
local function complaint(fd, value)
  if type(value) == "string" then
    if not words[value] then
      return ("unknown value %s; did you mean %q?"):format(
        options.show(value), options.nearest(value, words))
    elseif value == "inherit" and fd > 2 then
      return '"inherit" is for fds 0 to 2; give the number of the fd instead'
    elseif value == "stdout" and fd == 1 then
      return '"stdout" cannot stand for itself'
    end
    return nil, value == "pty"
  elseif type(value) == "table" and rawget(value, "pty") ~= nil then
    return bad_pty(value), true
  elseif not fd_of(value) then
    local why = bad_file(value)
    if why == true then
      return ("%s is no fd, stream or word (%s)"):format(options.got(value),
        "pipe, socket, ignore, inherit, stdout, ipc, pty")
    end
    return why
  end
end

--- Tells whether the option is one entry for all of fds 0 to 2.
local function is_single(value)
  if type(value) ~= "table" then return true end
  if rawget(value, 1) ~= nil then return false end
  return fd_of(value) or rawget(value, "file") or rawget(value, "pty")
end

--- Returns a list's entries by fd, and the highest fd, at least 2. Raises
--- unless it is a list.
local function read_list(where, list)
  local entries, last = {}, 2
  for key, entry in next, list do
    if math.type(key) ~= "integer" or key < 1 or key > MAX_FD + 1 then
      options.raise("%s: option 'stdio' is a list whose first item is for fd "
        .. "0; it has the key %s", where, options.show(key))
    end
    entries[key - 1] = entry or nil
    if key - 1 > last then last = key - 1 end
  end
  return entries, last
end

--- Returns the terminal of an entry, for child fd `fd`: the one that there is
--- already, if any. Raises if others want another size than the entry.
local function share_terminal(where, terminal, fd, entry)
  local wanted = entry == "pty" and {} or entry
  terminal = terminal or { pty = true, fd = fd }
  for _, name in ipairs { "rows", "cols" } do
    terminal[name] = terminal[name] or wanted[name]
    if wanted[name] and wanted[name] ~= terminal[name] then
      options.raise("%s: option 'stdio', fd %d: all share one terminal, which "
        .. "has %d %s already, not %d", where, fd, terminal[name], name,
        wanted[name])
    end
  end
  return terminal
end

--- Raises unless the entries are good. Returns the fd of the one that is "ipc",
--- and the terminal, which takes the place of all entries that are one.
local function check_entries(where, entries, last)
  local channel, terminal
  for fd = 0, last do
    local entry, why, is_pty = entries[fd], nil, nil
    if entry ~= nil then why, is_pty = complaint(fd, entry) end
    if entry == "ipc" and channel then
      why = ("there is a channel on fd %d, and one is all (ERR_IPC_ONE_PIPE)")
        :format(channel)
    end
    if why then
      options.raise("%s: option 'stdio', fd %d: %s", where, fd, why)
    end
    if entry == "ipc" then channel = fd end
    if is_pty then
      terminal = share_terminal(where, terminal, fd, entry)
      entries[fd], entries.pty = terminal, terminal
    end
  end
  return channel, terminal
end

local none = {} -- what `theirs` is while nothing is to be closed
local plans = {} -- by word, which means the same each time

--- @class Terminal
--- @field fd integer the child's first one that it is
--- @field rows integer? as an entry says
--- @field cols integer?

--- @class Plan
--- @field entries table<integer|"pty", any> by the child's fd; nil is left out
--- @field last integer the highest fd
--- @field channel integer? the child's fd of its channel
--- @field terminal Terminal? what the entries are that ask for one
--- @field is_word true? the option is a word, and the plan serves again
--- @field wiring Wiring? of a word that opens nothing, such as "ignore"

--- Checks the option, before anything exists; raises unless it is good.
--- @param where string the function's name, for the message
--- @param value any nil is "pipe"
--- @return Plan
function stdio.check(where, value)
  if value == nil then value = "pipe" end
  local plan = plans[value]
  if plan then return plan end
  local entries, last = {}, 2
  if is_single(value) then
    for fd = 0, 2 do entries[fd] = value end
  else
    entries, last = read_list(where, value)
  end
  local channel, terminal = check_entries(where, entries, last)
  plan = {
    entries = entries,
    last = last,
    channel = channel,
    terminal = terminal,
    is_word = words[value],
  }
  if plan.is_word then plans[value] = plan end
  return plan
end

--- Tells whether nothing was opened for a wiring, so that it serves again.
local function opens_nothing(wiring)
  return wiring.theirs == none and next(wiring.ends) == nil
end

--- @class Wiring what `open` makes
--- @field fds integer[] Lua's order: fds[1] is for child fd 0
--- @field ends table<integer|"pty", userdata> orrery.fd of ours, by the child's
---   fd; "pty": of the terminal
--- @field theirs userdata[] the child's ends, to be closed after the start
--- @field channel userdata? orrery.fd of our end of the channel
--- @field terminal integer? the number of the child's end of the terminal

--- Notes an end that is the child's. Returns its number.
local function give(wiring, fd)
  if wiring.theirs == none then wiring.theirs = {} end
  table.insert(wiring.theirs, fd)
  return fd:fileno()
end

-- How each word becomes an fd to hand over: its number; nil, errno, stage,
-- path.

local openers = {}

function openers.socket(wiring, fd)
  local ours, theirs = core.socketpair()
  if not ours then return nil, theirs, "pipe" end
  wiring.ends[fd] = ours
  return give(wiring, theirs)
end

function openers.pipe(wiring, fd)
  if fd > 2 then return openers.socket(wiring, fd) end
  local reading, writing = core.pipe(PIPE_SIZE)
  if not reading then return nil, writing, "pipe" end
  local ours, theirs = reading, writing
  if fd == 0 then ours, theirs = writing, reading end
  wiring.ends[fd] = ours
  return give(wiring, theirs)
end

function openers.ipc(wiring)
  local ours, theirs = core.socketpair()
  if not ours then return nil, theirs, "pipe" end
  wiring.channel = ours
  return give(wiring, theirs)
end

function openers.ignore(_, fd)
  if fd > 2 then return -1 end
  local null, errno = core.null_fd()
  if not null then return nil, errno, "open", "/dev/null" end
  return null
end

function openers.inherit(_, fd) return fd end

--- Opens a file. A FIFO has to be open at its other end: the child would be at
--- the end at once without a writer, and we cannot wait for one.
local function open_file(wiring, value)
  local mode = value.mode or "r"
  local fd, errno = core.open(value.file, mode)
  if fd and mode == "r" and fd:lacks_writer() then
    fd:close()
    fd, errno = nil, ENXIO
  end
  if not fd then return nil, errno, "open", value.file end
  return give(wiring, fd)
end

--- Opens the terminal, for the first of the entries that are it.
local function open_terminal(wiring, terminal)
  if not wiring.terminal then
    local ours, theirs = core.terminal().open(terminal.rows or ROWS,
      terminal.cols or COLS)
    if not ours then return nil, theirs, "open", "/dev/ptmx" end
    wiring.ends.pty, wiring.terminal = ours, give(wiring, theirs)
  end
  return wiring.terminal
end

--- Returns the fd of a stream or the like. What a child reads from is not read
--- from here meanwhile.
local function share(value)
  if type(value) == "table" and value.lend_ then value:lend_() end
  return fd_of(value)
end

--- Opens one entry: the fd's number, or -1 for none; nil, errno, stage, path.
local function open_entry(wiring, fd, entry)
  if entry == nil then entry = fd <= 2 and "pipe" or "ignore" end
  local open = openers[entry]
  if open then
    return open(wiring, fd)
  elseif type(entry) == "table" and rawget(entry, "pty") then
    return open_terminal(wiring, entry)
  elseif type(entry) == "table" and rawget(entry, "file") then
    return open_file(wiring, entry)
  end
  return share(entry)
end

--- Returns the error of an entry that could not be opened. (open(2) gives ENXIO
--- for a FIFO without a reader, and `open_file` for one without a writer.)
local function failure(errno, stage, path)
  local err = errors.system(errno, "spawn", { stage = stage, path = path })
  if errno == ENXIO then
    err.message = err.message .. "; no process has the other end of this FIFO "
      .. "open: start that one first, or let a shell wait for it in the child, "
      .. "as by sh('sort <fifo')"
  end
  return err
end

--- Opens what a plan asks for; nothing is left open if it fails.
--- @param plan Plan
--- @return Wiring? wiring
--- @return Error? err with stage "pipe" or "open"
function stdio.open(plan)
  if plan.wiring then return plan.wiring end
  local wiring = { fds = { -1, -1, -1 }, ends = {}, theirs = none }
  for fd = 0, plan.last do
    local entry = plan.entries[fd]
    if entry ~= "stdout" then
      local number, errno, stage, path = open_entry(wiring, fd, entry)
      if not number then
        stdio.close(wiring)
        return nil, failure(errno, stage, path)
      end
      wiring.fds[fd + 1] = number
    end
  end
  for fd = 0, plan.last do
    if plan.entries[fd] == "stdout" then wiring.fds[fd + 1] = wiring.fds[2] end
  end
  if plan.is_word and opens_nothing(wiring) then plan.wiring = wiring end
  return wiring
end

--- Closes the child's ends, once it has them.
--- @param wiring Wiring
function stdio.release(wiring)
  for _, fd in ipairs(wiring.theirs) do fd:close() end
end

--- Closes all of it, after a start that failed.
--- @param wiring Wiring
function stdio.close(wiring)
  stdio.release(wiring)
  for _, ours in pairs(wiring.ends) do ours:close() end
  if wiring.channel then wiring.channel:close() end
end

--- Tells whether a child's stdin or stdout is its terminal, so that it has no
--- end of its own here.
--- @param plan Plan
--- @param fd integer|"pty" the child's
--- @return boolean
function stdio.is_terminal(plan, fd)
  local terminal = plan.terminal
  return terminal ~= nil and (fd == 0 or fd == 1)
    and plan.entries[fd] == terminal
end

--- Returns how our end of a child's fd is used; nil if there is none.
--- @param plan Plan
--- @param fd integer|"pty" the child's, or its terminal's
--- @return "r"|"w"|"rw"|nil mode
function stdio.mode(plan, fd)
  local entry = plan.entries[fd]
  if entry == "socket" or (entry == "pipe" and fd > 2) then return "rw" end
  if fd == "pty" then return entry and "rw" end
  if entry ~= "pipe" and (entry ~= nil or fd > 2) then return nil end
  return fd == 0 and "w" or "r"
end

--- Returns streams that are over already, for a child that did not start.
--- @param plan Plan
--- @return table<integer|"pty", Stream> by the child's fd
function stdio.ended(plan)
  local streams = {}
  for fd = 0, plan.last do
    local mode = stdio.mode(plan, fd)
    if mode then streams[fd] = stream.ended(mode) end
  end
  if plan.terminal then
    streams.pty = require "orrery.stream.pty".ended()
  end
  return streams
end

return stdio
