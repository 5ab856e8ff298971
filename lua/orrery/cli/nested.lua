--- Says what is wrong when the script that runs is orrery itself: it was given
--- to fork, or to orrery, in the place of a script.

--- @param args string[] of the orrery within
--- @return string format as string.format's, and what goes with it
--- @return string own its file
--- @return string script which was meant
return function(args)
  local first = args[1]
  return "%s is orrery itself and no script: give fork, or orrery, the script, "
    .. 'as in fork("%s")',
    args[0], first and not first:find("^-") and first or "worker.lua"
end
