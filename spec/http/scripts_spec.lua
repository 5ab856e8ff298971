--- The scripts of scripts/http: what they print and answer, and that nothing a
--- client sends gets files.lua out of its folder.

local helper = require "spec.helper"
local orrery = require "orrery"

local http, run = orrery.http, helper.run

describe("scripts/http", function()
  it("fetch_many.lua prints each page in order", function()
    run(function()
      local pages = {}
      for i = 1, 20 do pages[i] = "page /" .. i .. "\n" end
      local result = helper.cli { "scripts/http/fetch_many.lua" }
      assert.same({ table.concat(pages)
        .. "agent: 4 sockets, 4 free, 0 requests wait\n", "" },
        { result.stdout, result.stderr })
    end)
  end)

  it("download.lua prints the size of its file", function()
    run(function()
      local result = helper.cli { "scripts/http/download.lua" }
      assert.same({ "4194304 bytes\n", "" }, { result.stdout, result.stderr })
    end)
  end)
end)

--- Starts a server of scripts/http, calls fn(url), and stops it. [w]
local function with_server(args, fn)
  local child = orrery.spawn(helper.orrery, args,
    { stdio = { "ignore", "pipe", "inherit" },
      env_extend = helper.env { LD_PRELOAD = false } })
  local ok, err = pcall(fn, child.stdout:lines()(), child)
  child:stop()
  child.stdout:destroy()
  helper.await_close(child)
  if not ok then error(err, 0) end
end

--- Asks for a path, which is sent as it is, on a connection of its own. [w]
local function ask(url, path, opts)
  opts = opts or {}
  opts.path, opts.agent = path, false
  return assert(http.fetch(url, opts))
end

describe("scripts/http/hello.lua", function()
  it("says hello, and ends by a signal", function()
    run(function()
      with_server({ "scripts/http/hello.lua" }, function(url, child)
        assert.equal("hello from /me\n", ask(url, "/me").body)
        child:kill()
        assert.same({ 143, "SIGTERM" }, { child:wait() })
      end)
    end)
  end)
end)

--- Paths that lead out of a folder, for some servers, or to what is no file.
local attacks = { "/../secret", "/folder/../../secret", "/%2e%2e/secret",
  "/%2E./secret", "/..%2fsecret", "/%2e%2e%2fsecret", "//../secret",
  "/./../secret", "/outside", "/up/secret", "/other/secret",
  "/../www-other/secret", "/.hidden", "/%2ehidden", "/outside%00.txt",
  "/a.txt%00", "/..%5csecret", "/%252e%252e/secret", "/a.txt/",
  "/a.txt/../../secret", "/fifo", "/folder/", "http://x/../secret",
  "/" .. ("x"):rep(5000), "/%", "/%zz" }

describe("scripts/http/files.lua", function()
  local top

  before_each(function()
    top = helper.tmpname()
    os.remove(top)
    assert(os.execute(([[mkdir -p %s/www/folder %s/www-other && cd %s/www &&
      echo secret | tee ../secret ../www-other/secret > .hidden &&
      printf 0123456789 > a.txt && echo '<p>' > index.html && : > empty.css &&
      ln -s a.txt inside && ln -s ../secret outside && ln -s .. up &&
      ln -s ../www-other other && mkfifo fifo &&
      head -c 1000000 /dev/urandom > long.bin]]):format(top, top, top)))
  end)

  after_each(function() os.execute("rm -r " .. top) end)

  local function serve(fn)
    run(function()
      with_server({ "scripts/http/files.lua", top .. "/www" }, fn)
    end)
  end

  it("serves files, and the index of a folder", function()
    serve(function(url)
      local answer = ask(url, "/a.txt?query")
      assert.same({ 200, "text/plain", "0123456789" },
        { answer.status, answer.headers["content-type"], answer.body })
      answer = ask(url, "/")
      assert.same({ "text/html", "<p>\n" },
        { answer.headers["content-type"], answer.body })
      assert.equal("", ask(url, "/empty.css").body)
      assert.equal("0123456789", ask(url, "/%61.txt").body)
      answer = ask(url, "//folder?query")
      assert.same({ 301, "/folder/" },
        { answer.status, answer.headers.location })
    end)
  end)

  it("serves a long file as it is", function()
    serve(function(url)
      local file <close> = io.open(top .. "/www/long.bin", "rb")
      assert.is_true(ask(url, "/long.bin").body == file:read("a"))
    end)
  end)

  it("answers HEAD, and no other method but GET", function()
    serve(function(url)
      local answer = ask(url, "/a.txt", { method = "HEAD" })
      assert.same({ 200, "10", "" },
        { answer.status, answer.headers["content-length"], answer.body })
      answer = ask(url, "/a.txt", { method = "POST", body = "x" })
      assert.same({ 405, "GET, HEAD" }, { answer.status, answer.headers.allow })
    end)
  end)

  it("does not send again what the client has", function()
    serve(function(url)
      local tag = ask(url, "/a.txt").headers.etag
      for header, status in pairs { [tag] = 304, ["W/" .. tag] = 304,
        ['"x", ' .. tag] = 304, ["*"] = 304, ['"x"'] = 200 } do
        local answer = ask(url, "/a.txt",
          { headers = { ["If-None-Match"] = header } })
        assert.same({ status, tag }, { answer.status, answer.headers.etag })
      end
    end)
  end)

  it("sends a range, and all where that is an answer", function()
    serve(function(url)
      local tag = ask(url, "/a.txt").headers.etag
      for _, case in ipairs {
        { "bytes=2-4", 206, "bytes 2-4/10", "234" },
        { "bytes=8-", 206, "bytes 8-9/10", "89" },
        { "bytes=-3", 206, "bytes 7-9/10", "789" },
        { "bytes=-30", 206, "bytes 0-9/10", "0123456789" },
        { "bytes=9-99999999999999999999", 206, "bytes 9-9/10", "9" },
        { "bytes=2-4", 206, "bytes 2-4/10", "234", tag },
        { "bytes=10-", 416, "bytes */10" },
        { "bytes=-0", 416, "bytes */10" },
        { "bytes=99999999999999999999-", 416, "bytes */10" },
        { "bytes=2-4", 200, nil, "0123456789", '"old"' },
        { "bytes=4-2", 200, nil, "0123456789" },
        { "bytes=0-0,2-3", 200, nil, "0123456789" },
        { "bytes=-", 200, nil, "0123456789" },
        { "lines=1-2", 200, nil, "0123456789" },
      } do
        local answer = ask(url, "/a.txt",
          { headers = { { "Range", case[1] },
            case[5] and { "If-Range", case[5] } } })
        assert.same({ case[2], case[3], case[4] or answer.body },
          { answer.status, answer.headers["content-range"], answer.body })
      end
    end)
  end)

  it("has no way out of its folder", function()
    serve(function(url)
      for _, path in ipairs(attacks) do
        local answer = ask(url, path)
        assert.same({ 404, "404 Not Found\n" }, { answer.status, answer.body },
          path)
      end
      for _, path in ipairs { "/inside", "/up/www/a.txt" } do
        assert.equal("0123456789", ask(url, path).body)
      end
    end)
  end)

  it("goes on when a client goes amid a file", function()
    serve(function(url)
      for _ = 1, 5 do
        local request = http.get(url, { path = "/long.bin", agent = false })
        assert(request:await_response())
        request:destroy()
        request:wait_for("close")
      end
      assert.equal(1000000, #ask(url, "/long.bin").body)
    end)
  end)
end)

describe("scripts/http/proxy.lua", function()
  --- Starts an origin in this process and a proxy before it. [w]
  local function with_proxy(on_request, fn)
    run(function()
      local origin <close> = http.create_server(on_request)
      assert(origin:listen(0, "127.0.0.1"))
      with_server({ "scripts/http/proxy.lua",
        "http://127.0.0.1:" .. origin:address().port },
        function(url) fn(url, origin) end)
    end)
  end

  it("hands on requests and answers, with headers for the other side only",
    function()
    local got
    with_proxy(function(req, res)
      got = req
      res:write_head(201, "Made", { "Set-Cookie", "a", "Set-Cookie", "b",
        "Connection", "x-mine", "X-Mine", "1" })
      res:finish(req.method .. " " .. req.url)
    end, function(url)
      local answer = ask(url, "/a?b", { method = "DELETE", headers = {
        Connection = "close, X-Hop", ["X-Hop"] = "1", TE = "trailers",
        ["X-Kept"] = "2", ["X-Forwarded-For"] = "1.2.3.4" } })

      assert.same({ 201, "DELETE /a?b", { "a", "b" } },
        { answer.status, answer.body, answer.headers["set-cookie"] })
      assert.is_nil(answer.headers["x-mine"])
      assert.same({ "2", "1.2.3.4, 127.0.0.1", "1.1 orrery" },
        { got.headers["x-kept"], got.headers["x-forwarded-for"],
          got.headers.via })
      assert.same({}, { got.headers["x-hop"], got.headers.te })
      assert.equal(url, "http://" .. got.headers.host)
    end)
  end)

  it("pipes bodies both ways, and answers HEAD", function()
    with_proxy(function(req, res)
      if req.method == "HEAD" then res:write("some") end
      req:pipe(res)
    end, function(url)
      local body = ("0123456789"):rep(100000)
      local answer = ask(url, "/", { method = "POST", body = body })
      assert.is_true(answer.body == body)
      answer = ask(url, "/", { method = "HEAD" })
      assert.same({ 200, "chunked" },
        { answer.status, answer.headers["transfer-encoding"] })
    end)
  end)

  it("asks nobody but its origin", function()
    with_proxy(function(req, res) res:finish(req.url) end, function(url)
      local path = "http://127.0.0.1:1/x"
      assert.equal(path, ask(url, path).body)
      assert.equal("*", ask(url, "*", { method = "OPTIONS" }).body)
      assert.equal(405, ask(url, "/", { method = "TRACE" }).status)
    end)
  end)

  it("says 502 when the origin fails, and cuts what it has cut", function()
    with_proxy(function(req, res)
      if req.url == "/early" then return res:destroy() end
      res:write("some")
      orrery.sleep(20)
      res:destroy()
    end, function(url, origin)
      assert.equal(502, ask(url, "/early").status)
      local response = http.get(url, { path = "/late", agent = false })
        :await_response()
      assert.equal("some", response:read())
      assert.equal("ECONNRESET", select(2, response:read()).code)
      origin:close()
      assert.equal(502, ask(url, "/").status)
    end)
  end)

  it("ends the origin's request when its client goes", function()
    local aborted = orrery.events.new()
    with_proxy(function(req, res)
      req:on("aborted", function() aborted:emit("aborted") end)
      while res:write_wait("more") do orrery.sleep(5) end
    end, function(url)
      local request = http.get(url, { agent = false })
      assert(request:await_response():read())
      orrery.go(function() request:destroy() end)
      aborted:wait_for("aborted")
    end)
  end)
end)
