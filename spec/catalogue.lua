--- What the specs cover of four catalogues: Node's own tests, by group and
--- number ("A1: …" in an `it`), those of its HTTP by name ("http NAME, NAME:
--- …"), the faults that were found in use and mended ("fault A1: …"), and what
--- Node's users complain about and is better here ("ours does better 25: …").
--- `make catalogue` prints the rows without a spec, each with its reason, and
--- fails if a reason is missing.

local NODE = {
  { "A", 1, 17 }, { "B", 18, 39 }, { "C", 40, 49 }, { "D", 50, 55 },
  { "E", 56, 62 }, { "F", 63, 82 }, { "G", 83, 98 }, { "H", 99, 102 },
  { "I", 103, 110 }, { "J", 111, 120 }, { "K", 121, 123 }, { "L", 124, 126 },
}

local NODE_LATER = {}

--- The names of test/parallel/test-http-NAME.js whose behaviour is ours, too.
local HTTP = {
  -- parsing, smuggling
  [[
    chunked-smuggling dummy-characters-smuggling
    request-smuggling-content-length transfer-encoding-smuggling
    transfer-encoding-repeated-chunked double-content-length
    content-length-mismatch server-reject-chunked-with-content-length
    server-reject-cr-no-lf missing-header-separator-cr
    missing-header-separator-lf invalid-te invalid-path-chars
    invalidheaderfield blank-header header-overflow header-badrequest
    header-owstext header-obstext max-header-size max-http-headers
    rawheaders-limit chunk-extensions-limit malformed-request
    request-methods methods server-method.query request-invalid-method-error
  ]],
  -- messages
  [[
    1.0 1.0-keep-alive head-request head-response-has-no-body
    head-response-has-no-body-end
    head-response-has-no-body-end-implicit-headers
    head-throw-on-response-body-write chunked chunked-304
    allow-content-length-304 allow-req-after-204-res content-length
    contentLength0 no-content-length automatic-headers date-header
    multiple-headers multi-line-headers raw-headers response-multiheaders
    response-multi-content-length response-splitting response-no-headers
    response-remove-header-after-sent response-add-header-after-sent
    status-code response-statuscode status-message response-status-message
    status-reason-invalid-chars write-head write-head-2
    write-head-after-set-header mutable-headers header-validators
    zero-length-write write-empty-string outgoing-finish
    outgoing-end-multiple outgoing-finish-writable res-write-after-end
    response-close set-trailers server-de-chunked-trailer response-readable
    readable-data-event pause pause-no-dump pause-resume-one-end
    no-read-no-dump dump-req-when-res-ends url.parse-path
    server-non-utf8-header
  ]],
  -- 1xx, upgrade
  [[
    expect-continue expect-continue-reuse-race expect-handling
    sync-write-error-during-continue early-hints information-headers
    information-processing upgrade-server upgrade-server2 upgrade-client
    upgrade-client2 upgrade-agent upgrade-binary upgrade-advertise
    upgrade-reconsume-stream connect connect-req-res eof-on-connect
    parser-freed-before-upgrade
  ]],
  -- keep-alive, pipelining, closing
  [[
    keep-alive keep-alive-timeout keep-alive-timeout-buffer
    keep-alive-timeout-custom keep-alive-timeout-race-condition
    keep-alive-max-requests keep-alive-pipeline-max-requests
    keep-alive-drop-requests keep-alive-close-on-header
    keep-alive-empty-line keepalive-request should-keep-alive
    many-ended-pipelines get-pipeline-problem pipeline-flood
    pipeline-requests-connection-leak
    remove-connection-header-persists-connection server-close-all
    server-close-idle server-close-idle-wait-response
    server-close-idle-connections-pre-request server-stale-close
    server-keep-alive-timeout server-keepalive-end
    server-connection-list-when-close server-close-destroy-timeout
  ]],
  -- timeouts
  [[
    server-headers-timeout-delayed-headers
    server-headers-timeout-interrupted-headers
    server-headers-timeout-keepalive server-headers-timeout-pipelining
    server-request-timeout-delayed-body
    server-request-timeout-delayed-headers
    server-request-timeout-interrupted-body
    server-request-timeout-interrupted-headers
    server-request-timeout-keepalive server-request-timeout-pipelining
    server-request-timeout-upgrade server-timeouts-validation
    server-consumed-timeout set-timeout set-timeout-server
  ]],
  -- peers that leave, errors
  [[
    abort-client abort-before-end abort-queued aborted conn-reset
    client-abort-event client-abort-keep-alive-destroy-res
    server-client-error server-destroy-socket-on-client-error
    server-unconsume socket-error-listeners uncaught-from-request-callback
    exceptions end-throw-socket-handling server-drop-connections-in-cluster
    unix-socket unix-socket-keep-alive bind-twice server-write-after-end
  ]],
  -- client, agent
  [[
    agent agent-keepalive agent-keepalive-delay
    agent-keep-alive-timeout-buffer agent-maxsockets agent-maxtotalsockets
    agent-scheduling agent-timeout agent-destroyed-socket
    agent-reuse-drained-socket-only agent-error-on-idle
    client-keep-alive-hint client-keep-alive-release-before-finish
    client-default-headers-exist client-defaults client-parse-error
    client-reject-chunked-with-content-length client-reject-cr-no-lf
    client-read-in-error client-response-timeout client-set-timeout
    client-timeout client-timeout-event client-upload client-upload-buf
    client-with-create-connection client-unescaped-path
    client-check-http-token client-headers-array client-error-rawbytes
    client-race client-race-2 client-aborted-event client-res-destroyed
    client-immediate-error dns-error correct-hostname default-port
    host-headers host-header-ipv6-fail hostname-typechecking localaddress
    request-end request-end-twice request-large-payload
    request-method-delete-payload request-host-header extra-response
    full-response
  ]],
}

local HTTP_LATER = {
  methods = "there is no list of methods: the parser knows them",
  ["server-method.query"] = "llhttp 8.1 does not know QUERY",
  ["request-invalid-method-error"] = "as client-check-http-token",
}

local FAULTS = {
  { "A", 1, 13 }, { "B", 1, 12 }, { "C", 1, 11 }, { "D", 1, 10 },
  { "E", 1, 10 },
}

local FAULTS_LATER = {
  E6 = "needs Lua 5.5; run by hand, see docs/platforms.md",
  E5 = "make lint compiles the core for musl and for ARM64",
}

local BETTER = { { "", 5, 17 }, { "", 24, 29 } }

local BETTER_LATER = {}

--- Calls fn(text) for each file of specs, in which names are in one piece.
local function each_spec(fn)
  local specs = io.popen("find spec -name '*_spec.lua'")
  for path in specs:lines() do
    local file <close> = io.open(path)
    fn((file:read("a"):gsub('"%s*%.%.%s*"', "")))
  end
  specs:close()
end

--- Returns the set of rows that an `it` names, after what stands before them.
local function named(before)
  local rows = {}
  each_spec(function(text)
    for row in text:gmatch('it%(%(?%s*"' .. before .. "(%u?%d+):") do
      rows[row] = true
    end
  end)
  return rows
end

--- Returns the set of Node's tests of HTTP that an `it` names.
local function named_http()
  local names = {}
  each_spec(function(text)
    for list in text:gmatch('it%(%s*"http ([%w%.,%- ]+):') do
      for name in list:gmatch("[^ ,]+") do names[name] = true end
    end
  end)
  return names
end

--- Returns the names of rows, from groups of numbers.
local function numbered(groups)
  local rows = {}
  for _, group in ipairs(groups) do
    for number = group[2], group[3] do rows[#rows + 1] = group[1] .. number end
  end
  return rows
end

--- Returns the names of rows, from texts that have them.
local function listed(texts)
  local rows = {}
  for _, text in ipairs(texts) do
    for row in text:gmatch("%S+") do rows[#rows + 1] = row end
  end
  return rows
end

--- Prints the rows of a catalogue that have no spec, each with the reason for
--- it or for its group.
--- @return boolean ok each of them has a reason
local function print_missing(title, rows, later, have)
  local count, ok = 0, true
  print(title)
  for _, row in ipairs(rows) do
    local reason = later[row] or later[row:match("^%u")]
    if have[row] then
      count = count + 1
    else
      print(("  %-5s %s"):format(row, reason or "MISSING, with no reason"))
      ok = ok and reason ~= nil
    end
  end
  print(("  %d rows have a spec"):format(count))
  return ok
end

local node = print_missing("Node's own tests", numbered(NODE), NODE_LATER,
  named "")
local http = print_missing("Node's own tests of HTTP", listed(HTTP), HTTP_LATER,
  named_http())
local faults = print_missing("Faults found in use", numbered(FAULTS),
  FAULTS_LATER, named "fault ")
local better = print_missing("What Node's users complain about",
  numbered(BETTER), BETTER_LATER, named "ours does better ")
os.exit(node and http and faults and better)
