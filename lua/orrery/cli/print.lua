--- `print` for a libc whose stdout cannot be replaced (musl's is constant): it
--- writes to io.stdout, which waits for slow readers and notices that they have
--- gone. Replaces the global when it is loaded.

print = function(...) -- luacheck: globals print
  local words = table.pack(...)
  for i = 1, words.n do words[i] = tostring(words[i]) end
  io.stdout:write(table.concat(words, "\t"), "\n")
end
