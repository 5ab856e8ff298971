--- JSON as text, both ways, by a library in C of its own: libjansson is loaded
--- by processes that ask for JSON, and by no others. Loading this module raises
--- if that library is missing, or was not built.

local path = package.searchpath("orrery.json", package.cpath)
if not path then
  error("orrery.json was not built, for it needs jansson.h: install jansson's "
    .. "headers (Debian: libjansson-dev) and build again", 0)
end
local open, problem = package.loadlib(path, "luaopen_orrery_json")
if not open then
  error("orrery.json needs libjansson: install it (Debian: libjansson4): "
    .. problem, 0)
end

--- @class Json
--- @field encode fun(value: any, name: string?): string raises, with the place
---   in the value, if something in it is nothing for JSON; `name` ("message")
---   is what the error calls the value
--- @field decode fun(text: string): any, string? nil, message if the text is no
---   JSON, is too deep, or would take too much memory (more than 128 MiB and
---   than 32 times its bytes, or than 512 MiB); null is `orrery.null`

--- @type Json
return open("orrery.json", path)
