require "spec.helper"
local core = require "orrery.core"

--- Binds, and returns the name of the errno if it fails, else the address and
--- port.
local function bind(...)
  local fd, errno = core.bind(...)
  if not fd then return core.errnos[errno] end
  local ip, port = core.addresses(fd:fileno())
  fd:close()
  return ip, port
end

describe("core.bind", function()
  it("makes sockets of TCP, UDP and Unix", function()
    for _, type in ipairs { "tcp", "udp" } do
      for _, ip in ipairs { "127.0.0.1", "::1", "0.0.0.0", "::" } do
        local got, port = bind(type, ip, 0)
        assert.equal(ip, got)
        assert.is_true(port > 0)
      end
    end
    local name = "\0orrery-spec-" .. os.time()
    assert.equal(name, (bind("unix", name)))
  end)

  it("knows scopes by name and by number", function()
    assert.equal("EADDRNOTAVAIL", bind("tcp", "fe80::1%lo", 0))
    assert.equal("EADDRNOTAVAIL", bind("tcp", "fe80::1%1", 0))
    for _, scope in ipairs { "", "none", "0", "1x", "99999999999999" } do
      assert.equal("ENODEV", bind("tcp", "fe80::1%" .. scope, 0))
    end
  end)

  it("says what is no address", function()
    local cases = { "", "localhost", "127.1", "1.2.3.4.5", "::1::", "%lo",
      ("1"):rep(1000) }
    for _, ip in ipairs(cases) do assert.equal("EINVAL", bind("udp", ip, 0)) end
    assert.equal("ENAMETOOLONG", bind("unix", ("x"):rep(108)))
    assert.equal("ENOENT", bind("unix", "/no/such/folder/s"))
  end)

  it("raises for what is no type and no port", function()
    assert.has_error(function() core.bind("sctp", "::", 0) end)
    assert.has_error(function() core.bind("tcp", "::", 65536) end)
    assert.has_error(function() core.bind("tcp", "::", -1) end)
    assert.has_error(function() core.bind("tcp", "::") end)
  end)

  it("is for IPv6 alone only if told so", function()
    local fd = assert(core.bind("tcp", "::", 0, { ipv6_only = true }))
    local _, port = core.addresses(fd:fileno())
    assert.equal("0.0.0.0", (bind("tcp", "0.0.0.0", port)))
    assert(core.listen(fd:fileno(), 1))
    assert.equal("EADDRINUSE", bind("tcp", "::", port, { ipv6_only = true }))
    fd:close()
  end)
end)
