--- `http.fetch`: a request to the end of its response, in one call.

local chunks = require "orrery.runtime.chunks"
local ClientRequest = require "orrery.http.client_request"
local errors = require "orrery.runtime.errors"
local options = require "orrery.runtime.options"
local request_options = require "orrery.http.request_options"
local scheduler = require "orrery.runtime.scheduler"

local MAX_BUFFER = 100 * 1024 * 1024 -- bytes of a body

local schema = options.copy(request_options.schema)
schema.body = options.checks.bytes
schema.max_buffer = options.checks.size

--- @class FetchResult
--- @field status integer
--- @field headers table<string, string|string[]> by names in lower case
--- @field body string

--- Collects a body, and calls done(result) or done(nil, err).
local function collect(response, limit, done)
  local pieces, size = {}, 0
  response:on("data", function(chunk)
    size = size + #chunk
    if size <= limit then return chunks.add(pieces, chunk) end
    done(nil, errors.new("ERR_HTTP_MAX_BUFFER",
      ("the response's body has more than max_buffer, %d bytes"):format(limit)))
  end)
  response:on("error", function(err) done(nil, err) end)
  response:on("end", function()
    done({ status = response.status_code, headers = response.headers,
      body = table.concat(pieces) })
  end)
end

--- Makes a request and waits for the end of its response, whatever its status.
--- Redirects are not followed. [w]
---
---     local answer = assert(http.fetch("http://127.0.0.1:8080/jobs",
---       { method = "POST", body = "{}", timeout = 5000 }))
---
--- Raises unless the arguments are good.
--- @param target string an absolute http URL
--- @param opts table? those of `request`, and body (string), max_buffer (bytes
---   of the response's body, 100 MiB), timeout (ms, for all of it: then the
---   request is ended)
--- @return FetchResult? result
--- @return Error? err (ETIMEDOUT, ERR_HTTP_MAX_BUFFER, and as `request` emits
---   them; ECONNRESET also if the response was cut off)
local function fetch(target, opts)
  local plan, _
  plan, _, opts = request_options.read("fetch", schema, target, opts)
  plan.timeout = nil -- here it is not that of idleness
  scheduler.checkpoint("fetch")
  local request <close> = ClientRequest.new_(plan)
  request:finish(opts.body)
  return scheduler.wait(function(wake)
    request:on("error", function(err) wake(nil, err) end)
    request:on("response", function(response)
      collect(response, opts.max_buffer or MAX_BUFFER, wake)
    end)
  end, opts.timeout, "fetch")
end

return fetch
