--- What `make bench` measures of HTTP servers: rows as in bench/rows.lua. wrk
--- is the client in all.

local contenders = require "bench.contenders"
local harness = require "bench.harness"

local programs = contenders.programs
local PEERS = "bench/peers/"
local wrk, nginx = harness.find "wrk", harness.find "nginx"

--- Makes a contender: a server, asked in a kind by so many connections.
local function server(name, kind, connections, program, arguments)
  local one = contenders.peer(name, wrk and program and programs.orrery,
    ("%shttp_load.lua %s %d %s %s"):format(PEERS, kind, connections,
      program or "", arguments))
  if not wrk then one.missing = "no wrk" end
  return one
end

--- Makes all of a row.
--- @param kind "keep"|"browser"|"close"
--- @param connections integer
local function servers(kind, connections)
  local reads = kind == "browser" and " read" or ""
  return {
    server("C", kind, connections, "build/bench/http",
      kind == "close" and "0 close" or "0"),
    server("nginx", kind, connections, nginx and "sh",
      PEERS .. "http_nginx.sh"),
    server("Node", kind, connections, programs.node,
      PEERS .. "http_node.js" .. reads),
    server("Bun", kind, connections, programs.bun,
      PEERS .. "http_node.js" .. reads),
    server("ours", kind, connections, programs.orrery,
      PEERS .. "http_orrery.lua" .. reads),
  }
end

--- @type Row[]
return {
  {
    id = "http",
    title = "HTTP, 64 connections",
    text = "CPU of a server for a request, us; C answers a constant",
    rounds = 6,
    figures = { "cpu_us_per_op" },
    contenders = servers("keep", 64),
    goals = {
      { of = "ours", over = "C", most = 1.25 },
      { of = "ours", over = "nginx", most = 1.05 },
    },
  },
  {
    id = "http_one",
    title = "HTTP, one connection",
    text = "CPU of a server for a request, us",
    rounds = 6,
    figures = { "cpu_us_per_op" },
    contenders = servers("keep", 1),
    goals = { { of = "ours", over = "C", most = 1.5 } },
  },
  {
    id = "http_browser",
    title = "HTTP, a browser's head",
    text = "CPU of a server for a request, of whose headers it reads two, us",
    rounds = 6,
    figures = { "cpu_us_per_op" },
    contenders = servers("browser", 64),
    goals = { { of = "ours", over = "C", most = 1.5 } },
  },
  {
    id = "http_close",
    title = "HTTP, a connection a request",
    text = "CPU of a server for a request, us",
    rounds = 6,
    figures = { "cpu_us_per_op" },
    contenders = servers("close", 64),
    goals = { { of = "ours", over = "C", most = 1.25 } },
  },
}
