--- What of HTTP is done in C, in a library of its own, which is loaded by
--- processes that speak HTTP, and by no others. Loading this module raises if
--- that library was not built.

local path = package.searchpath("orrery.http", package.cpath)
if not path then
  error("orrery.http was not built, for it needs llhttp: install its sources "
    .. "(Debian: node-llhttp) and build again", 0)
end
local open, problem = package.loadlib(path, "luaopen_orrery_http")
if not open then error("orrery.http cannot be loaded: " .. problem, 0) end

--- A head, as a parser finds it.
--- @class HttpHead
--- @field method string? of a request
--- @field url string? of a request
--- @field status_code integer? of a response
--- @field status_message string? of a response; may be empty
--- @field http_version string "1.1" or "1.0"
--- @field raw_headers string[] name, value, name, value … as they were written
--- @field keep_alive boolean whether another message may follow
--- @field upgrade boolean another protocol follows, unless no_upgrade is called
--- @field chunked boolean how the body is sent
--- @field content_length integer? bytes of the body, if the head says it

--- One direction of a connection: bytes become messages, or the error that
--- they are none. Behind the last message of a connection, `next` gives nil.
--- @class HttpParser
--- @field feed fun(self: HttpParser, bytes: string): boolean?, integer? true;
---   nil, errno (ENOMEM)
--- @field next fun(self: HttpParser): string?, any, integer? "head", HttpHead;
---   "body", bytes; "end", raw trailers or nothing; "error", what is wrong, the
---   status to answer with; nil: it needs more bytes
--- @field finish fun(self: HttpParser): string?, any, integer? what the end of
---   the connection is to the message: "end", "error" or nil, as next
--- @field skip_body fun(self: HttpParser): boolean after a head: the message
---   has no body, for it answers HEAD or CONNECT; whether another may follow
--- @field no_upgrade fun(self: HttpParser) after a head: no protocol follows
--- @field rest fun(self: HttpParser): string what it was fed and has not used,
---   which it has no more

--- @class HttpNative
--- @field parser fun(type: string, max_head: integer): HttpParser for messages
---   of type "request" or "response", whose heads and trailers have `max_head`
---   bytes at most
--- @field headers fun(raw_headers: string[]): table<string, string|string[]> by
---   name, in small letters; "set-cookie" is a list, others are joined

--- @type HttpNative
return open("orrery.http", path)
