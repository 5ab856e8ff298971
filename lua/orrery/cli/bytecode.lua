--- Writes the bytecode of all modules into one file, from which
--- core/binding/bytecode.c loads them ten times faster than from their sources.
---
--- `make build` and `make install` put it beside core.so. Each module has a
--- stamp, its source's size and time. One that luarocks is going to copy has no
--- time: its source must not be newer than the file. If that does not fit the
--- source, or the bytecode not this Lua, the source is loaded instead. Lines
--- are kept: a traceback shows "[orrery.NAME]:12". Nothing requires this module
--- at run time.

local uv = require "luv"

local bytecode = {}

local MAGIC = "orrery's modules, compiled, with sums\n"
local HEADER, ENTRY = "=c44 I4 I8 i8", "=c32 i8 i8 i8 I4 I4 i8" -- as in C
local COPIED = { sec = -1, nsec = 0 } -- in place of a time, as in C
local HEADER_SIZE, ENTRY_SIZE = HEADER:packsize(), ENTRY:packsize()

--- @class Bytecode of one module
--- @field name string "net.socket"
--- @field stat table luv's, of the source
--- @field chunk string

--- Compiles the modules of a folder, and of those in it, into a list.
--- @param list Bytecode[]
--- @param sources string
--- @param prefix string what their names begin with: "", "net."
local function compile_folder(list, sources, prefix)
  local entries = assert(uv.fs_scandir(sources))
  for entry, kind in uv.fs_scandir_next, entries do
    local name = entry:match("^(.*)%.lua$")
    if kind == "directory" then
      compile_folder(list, sources .. "/" .. entry, prefix .. entry .. ".")
    elseif name then
      name = prefix .. name
      local path = sources .. "/" .. entry
      local stat = assert(uv.fs_stat(path))
      local file <close> = assert(io.open(path, "rb"))
      local chunk =
        assert(load(file:read("a"), "=[orrery." .. name .. "]", "t"))
      list[#list + 1] = { name = name, stat = stat, chunk = string.dump(chunk) }
    end
  end
end

--- Compiles all modules of a folder.
--- @return Bytecode[] list by name
local function compile_all(sources)
  local list = {}
  compile_folder(list, sources, "")
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

--- Returns the sum of a text that the loader computes, too.
--- @param text string
--- @return integer
local function sum_of(text)
  local sum, padded = #text, text .. ("\0"):rep(-#text % 8)
  for at = 1, #padded, 8 do
    sum = (sum ~ ("=i8"):unpack(padded, at)) * 0x9e3779b97f4a7c15
    sum = sum ~ sum >> 32
  end
  return sum
end

--- Returns the contents of the file.
--- @param list Bytecode[]
--- @return string
local function bundle(list)
  local entries, chunks = {}, {}
  local offset = HEADER_SIZE + #list * ENTRY_SIZE
  for i, one in ipairs(list) do
    local stat = one.stat
    entries[i] = ENTRY:pack(one.name, stat.size, stat.mtime.sec,
      stat.mtime.nsec, offset, #one.chunk, sum_of(one.chunk))
    chunks[i] = one.chunk
    offset = offset + #one.chunk
  end
  local listed = table.concat(entries)
  return HEADER:pack(MAGIC, #list, offset, sum_of(listed)) .. listed
    .. table.concat(chunks)
end

--- Compiles every module of a folder. Raises if one cannot be read or compiled,
--- or the file cannot be written. The file is replaced as a whole, for
--- processes that run have the old one mapped.
--- @param sources string a folder of .lua files
--- @param into string an existing folder, that of core.so
--- @param copied boolean? both are going to be copied without their times
function bytecode.build(sources, into, copied)
  local list = compile_all(sources)
  for _, one in ipairs(copied and list or {}) do one.stat.mtime = COPIED end
  local path = into .. "/modules.luac"
  local file <close> = assert(io.open(path .. ".new", "wb"))
  assert(file:write(bundle(list)))
  assert(file:close())
  assert(os.rename(path .. ".new", path))
end

return bytecode
