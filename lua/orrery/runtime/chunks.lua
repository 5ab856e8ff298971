--- Lists of the pieces in which bytes come, and the ends of lines in them. A
--- writer that writes bytes one by one makes as many pieces; kept so, each
--- would take 16 times its size, and each look over the list as long as they
--- are many.

local chunks = {}

--- What finds the ends of lines, by the options that say what ends them.
chunks.ends = { ["\n"] = "\n", any = "[\r\n]" }

--- Checks such an option, as those of `options.checks` do.
function chunks.check_ends(value)
  if not chunks.ends[value] then return [["\n" or "any"]] end
end

local SMALL = 4096 -- bytes; what is longer is not copied

--- Adds a chunk to a list. It is joined with those before it as long as they
--- are no longer than it: so a byte is copied 12 times at most, and small
--- chunks come to one for each 4 KiB, and a dozen.
--- @param list string[]
--- @param chunk string
function chunks.add(list, chunk)
  local last = #list
  while last > 0 and #chunk < SMALL and #list[last] <= #chunk do
    chunk, list[last] = list[last] .. chunk, nil
    last = last - 1
  end
  list[last + 1] = chunk
end

return chunks
