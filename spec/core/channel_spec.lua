local helper = require "spec.helper"
local core = require "orrery.core"

describe("a channel of the core", function()
  --- Two ends that are connected.
  local function channels(framing, max)
    local a, b = core.socketpair()
    return core.fork(a, framing or "frames", max or 1 << 26),
      core.fork(b, framing or "frames", max or 1 << 26)
  end

  --- Frames of a hostile peer: what `next` says of them.
  local function hostile(...)
    local a, b = core.socketpair()
    local channel = core.fork(b, "frames", 1000)
    for _, frame in ipairs { ... } do a:write(frame) end
    channel:receive()
    local results = table.pack(channel:next())
    a:close()
    channel:close()
    return table.unpack(results, 1, results.n)
  end

  local function frame(kind, flags, n, payload)
    return string.pack("<I4BBI2", #payload, kind, flags, n) .. payload
  end

  local function count_fds()
    local count = 0
    for _ in pairs(helper.fds()) do count = count + 1 end
    return count
  end

  local errnos = core.errnos

  it("says what is wrong with a frame in its own words", function()
    for text, data in pairs {
      ["not MessagePack: something follows the value"] = frame(0, 0, 0,
        "\xa3abc\0"),
      ["not MessagePack: it ends too early (byte 0)"] = frame(0, 0, 0, ""),
      ["a request without an id"] = frame(1, 0, 0, "\1\0\0"),
      ["a frame makes no sense"] = frame(3, 0, 0, "\0\0\0\0"),
    } do
      assert.same({ false, errnos.EPROTO, text }, { hostile(data) })
    end
    assert.same({ false, errnos.EMSGSIZE, "a message is too long" },
      { hostile(frame(0, 0, 0, ("\0"):rep(1009))) })
    assert.same({ false, errnos.EPROTO, "a frame makes no sense" },
      { hostile(frame(0, 1, 0, "\0\0\0\0\x80\x80")) })
  end)

  it("says that a handle was lost which no fd came with", function()
    local set = frame(3, 0, 1, "\7\0\0\0")

    assert.same({ 0, "x", 0, 1, {}, false },
      { hostile(set, frame(0, 1, 0, "\7\0\0\0\x80\xa1x")) })
    assert.same({ false, errnos.EPROTO, "a handle is not described" },
      { hostile(set, frame(0, 1, 0, "\7\0\0\0\xc2\xa1x")) })
  end)

  --- What `next` says of bytes, and of `sets` of an fd with one byte each that
  --- come behind them.
  local function next_with_sets(sets, data)
    local a, b = core.socketpair()
    local channel = core.fork(b, "frames", 1 << 20)
    local file <close> = core.open("/dev/null")
    a:write(data)
    local sender <close> = core.fork(a, "lines", 1000)
    for _ = 1, sets do sender:line("", file:fileno()) end
    sender:flush()
    local kind, errno
    for _ = 0, sets do
      if kind ~= false then
        channel:receive()
        kind, errno = channel:next()
      end
    end
    channel:close()
    return errno
  end

  it("fault C1: takes no fds amid a frame or its header", function()
    local before = count_fds()
    for _, data in ipairs { string.pack("<I4BBI2", 9000, 0, 0, 0),
      frame(0, 0, 0, "\1") .. string.pack("<I4BBI2", 9000, 0, 0, 0) } do
      assert.equal(errnos.EPROTO, next_with_sets(1, data))
    end
    -- one may be that of an fds frame that has not come whole
    for _, data in ipairs { "\4\0", string.pack("<I4BBI2", 4, 3, 0, 9) } do
      assert.is_nil(next_with_sets(1, data))
      assert.equal(errnos.EPROTO, next_with_sets(2, data))
    end
    assert.equal(before, count_fds())
  end)

  it("fault C1: waits with fds for the rest of their own frame", function()
    local file = core.open("/dev/null")
    for cut = 0, 14 do -- of 12 bytes that announce the fd, and some of a frame
      local a, b = channels()
      a:send(("x"):rep(4096 - 8 - 3 - cut)) -- a first read takes 4096 bytes
      a:post(0, 0, "handle", nil, {}, file:fileno())
      a:flush()
      b:receive()
      assert.equal(0, (b:next()))
      assert.is_nil((b:next()))
      b:receive()
      local got = table.pack(b:next())
      assert.equal("handle", got[2])
      assert.equal("userdata", type(got[6]))
      got[6]:close()
      a:close()
      b:close()
    end
    file:close()
  end)

  it("skips frames of types that it does not know", function()
    assert.same({ 0, 5 },
      { hostile(frame(200, 0, 9, "\xc1"), frame(0, 0, 0, "\5")) })
  end)

  it("says with a frame what there may be more of", function()
    local a, b = channels()
    assert.same({ nil, errnos.EAGAIN }, { b:fetch(true) })
    for i = 1, 2 do a:send(i) end
    a:flush()

    assert.same({ 1, 0, 1 }, { b:fetch(true) })
    assert.same({ 0, 0, 2 }, { b:fetch() })
    assert.same({ 0 }, { b:fetch() })

    a:send(("x"):rep(5000)) -- more than a first read takes
    a:flush()
    assert.same({ 2 }, { b:fetch(true) })
    assert.same({ 0, 0, ("x"):rep(5000) }, { b:fetch(true) })
    a:close()
    assert.same({}, { b:fetch(true) })
    b:close()
    assert.same({ nil, errnos.EBADF }, { b:fetch(true) })
  end)

  it("fault C3: asks for bytes behind fds once", function()
    local a, b = channels()
    local file = core.open("/dev/null")
    a:post(0, 0, "handle", nil, {}, file:fileno())
    a:flush()
    file:close()
    local more, _, _, _, _, _, fd = b:fetch(true)
    fd:close()

    assert.equal(core.more.bytes, more)
    assert.same({ nil, errnos.EAGAIN }, { b:fetch(true) })
    assert.same({ 0 }, { b:fetch() })
    a:close()
    b:close()
  end)

  it("takes nothing once it is closed, not even from a finalizer", function()
    local a, b = channels()
    a:close()
    b:close()

    assert.same({ nil, errnos.EBADF }, { a:send(1) })
    assert.same({ nil, errnos.EBADF }, { a:line("x") })
    assert.same({ nil, errnos.EBADF }, { a:post(0, 0, 1) })
    assert.same({ nil, errnos.EBADF }, { a:flush() })
    assert.same({ nil, errnos.EBADF }, { a:receive() })
    assert.is_nil(a:next())
    assert.equal("channel (closed)", tostring(a))
  end)

  for _, deed in ipairs { "close", "receive" } do
    it("is safe from a finalizer "
      .. "that calls " .. deed .. " while a message is decoded", function()
      local a, b = channels()
      local on, deeds = true, 0
      local function arm()
        setmetatable({}, { __gc = function()
          if not on then return end
          deeds = deeds + 1
          if deed == "receive" then a:send(("x"):rep(200000)) a:flush() end
          b[deed](b)
          arm()
        end })
      end
      local items = {}
      -- Enough for the collector to get round, however large the heap is
      -- already.
      local n = 5000 + collectgarbage("count") * 4 // 1 | 0
      for i = 1, n do items[i] = { "item " .. i } end
      a:send(items)
      repeat local done = a:flush() until not b:receive() and done
      local mode = helper.collect_eagerly()
      collectgarbage() -- the next cycle begins at once, by that mode
      arm()
      local ok, errno, text = b:next()
      on = false
      collectgarbage(mode)
      a:close()
      b:close()

      assert.is_true(deeds > 0)
      assert.same({ false, errnos.EPROTO }, { ok, errno })
      assert.matches("a finalizer closed or read the channel meanwhile", text)
    end)
  end

  it("sends a long string as far as the socket takes it, and the rest behind "
    .. "it", function()
    local a, b = channels("frames", 1 << 20)
    local long = ("x"):rep(1000000) .. "\xff"
    local queued = a:send(long)
    local accepted, sent = a:totals()

    assert.is_true(sent > 0 and queued == accepted - sent)
    assert.same({ nil, errnos.EMSGSIZE }, { a:send(("x"):rep((1 << 20) + 1)) })
    assert.equal(queued + 9, a:send(1)) -- one byte and a header behind it
    local values = {}
    repeat
      a:flush()
      b:receive()
      local kind, value = b:next()
      if kind then values[#values + 1] = value end
    until #values == 2
    assert.is_true(values[1] == long)
    assert.equal(1, values[2])
    assert.equal(0, a:send(("y"):rep(65536)))
    b:close()
    assert.equal(65536 + 5 + 8, a:send(("z"):rep(65536))) -- flush says why
    assert.same({ nil, errnos.EPIPE }, { a:flush() })
    a:close()
  end)

  it("fault C4: takes what a long message needs", function()
    local a, b = channels()
    local records, points = {}, {}
    for i = 1, 180000 do
      records[i] = { id = 1e6 + i, name = "name of " .. i,
        email = "user" .. i .. "@example.com" }
    end
    for i = 1, 500000 do points[i] = { i & 127, 1 } end
    for _, list in ipairs { records, points } do
      a:send(list)
      local kind, got
      repeat
        a:flush()
        b:receive()
        kind, got = b:next()
      until kind ~= nil
      assert.equal(0, kind)
      assert.equal(#list, #got)
    end
    a:close()
    b:close()
  end)

  it("closes fds that nobody asks for", function()
    local a, b = channels("lines")
    local before = count_fds()
    local file = core.open("/dev/null")
    for i = 1, 100 do
      a:line("line " .. i, file:fileno())
      a:flush()
      b:receive()
      assert.equal("line " .. i, select(2, b:next()))
    end
    a:line("handle", file:fileno())
    a:flush()
    b:receive()
    b:next()
    local fd = b:take_fd()
    local none = b:take_fd()
    local after = count_fds()
    fd:close()
    file:close()
    a:close()
    b:close()

    assert.is_nil(none)
    assert.is_true(after <= before + 3)
  end)
end)
