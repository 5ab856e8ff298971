--- What `make bench` measures of clusters: rows as in bench/rows.lua. All have
--- two processes that serve; wrk is the client.

local contenders = require "bench.contenders"
local harness = require "bench.harness"

local programs = contenders.programs
local PEERS = "bench/peers/"
local WORKERS, CONNECTIONS = 2, 64
local wrk, nginx = harness.find "wrk", harness.find "nginx"

--- Makes a contender: a server, asked in a kind.
local function server(name, kind, program, arguments)
  local one = contenders.peer(name, wrk and program and programs.orrery,
    ("%shttp_load.lua %s %d %s %s"):format(PEERS, kind, CONNECTIONS,
      program or "", arguments))
  if not wrk then one.missing = "no wrk" end
  return one
end

--- Makes all of a row.
--- @param kind "keep"|"close"
local function servers(kind)
  local list = {
    server("C", kind, "build/bench/http", ("0 %s %d"):format(kind, WORKERS)),
    server("nginx", kind, nginx and "sh",
      ("%shttp_nginx.sh %d"):format(PEERS, WORKERS)),
    server("Node", kind, programs.node, PEERS .. "cluster_node.js"),
  }
  for _, policy in ipairs { "least", "rr", "shared", "reuseport" } do
    list[#list + 1] = server(policy, kind, programs.orrery,
      PEERS .. "cluster_orrery.lua " .. policy)
  end
  return list
end

--- @type Row[]
return {
  {
    id = "cluster",
    title = "Cluster, 64 connections",
    text = "CPU of all processes for a request, us; C and nginx by reuseport",
    rounds = 3,
    figures = { "cpu_us_per_op" },
    contenders = servers "keep",
    goals = {
      { of = "least", over = "C", most = 1.3 },
      { of = "least", over = "nginx", most = 1.05 },
    },
  },
  {
    id = "cluster_close",
    title = "Cluster, a connection a request",
    text = "CPU of all processes for a request, us",
    rounds = 3,
    figures = { "cpu_us_per_op" },
    contenders = servers "close",
    goals = {
      { of = "reuseport", over = "C", most = 1.2 },
      { of = "least", over = "C", most = 1.6 },
      { of = "rr", over = "C", most = 1.6 },
    },
  },
}
