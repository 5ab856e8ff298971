--- Signals by name and by number, and the checks of arguments that are signals.

local core = require "orrery.core"
local options = require "orrery.runtime.options"

local signals = {}

local MOST = 64 -- Linux has the signals 1 to 64
local SIGRTMIN = 34 -- glibc keeps 32 and 33 for itself

local numbers = core.signals -- of those that have a name, by name

--- Returns the number of a signal given by name (in any case, with or without
--- "SIG") or by number; nil if there is no such signal. 0 is a number as well:
--- the probe of kill(2).
--- @param signal any
--- @return integer? number
function signals.number(signal)
  if type(signal) == "string" then
    local name = signal:upper()
    return numbers[name] or numbers["SIG" .. name]
  end
  if math.type(signal) == "integer" and signal >= 0 and signal <= MOST then
    return signal
  end
end

--- Returns the name of a signal, such as "SIGTERM"; real-time signals are
--- "SIGRTMIN+n".
--- @param number integer
--- @return string name
function signals.name(number)
  return core.signal_names[number] or ("SIGRTMIN+%d"):format(number - SIGRTMIN)
end

--- Checks an option that is a signal, for a schema of `options.check`. 0 is
--- refused.
--- @param value any
--- @return string? expected nil if the value is good
function signals.option(value)
  if signals.number(value) == nil or value == 0 then
    return 'a signal name such as "SIGTERM", or its number'
  end
end

--- Returns the number of a signal; raises, with the nearest name, if there is
--- no such signal. 0 passes.
--- @param where string the function's name, for the message
--- @param signal string|integer
--- @return integer number
function signals.check(where, signal)
  local number = signals.number(signal)
  if number then return number end
  local hint = type(signal) == "string" and (", did you mean %s?"):format(
    options.nearest(signal:upper(), numbers)) or ""
  options.raise("%s: unknown signal %s%s (ERR_UNKNOWN_SIGNAL)", where,
    options.show(signal), hint)
end

return signals
