// A cluster of Node's of two workers that says hello, for http_load.lua.
'use strict';

const cluster = require('cluster');
const http = require('http');

const WORKERS = 2;

if (cluster.isPrimary) {
  let left = WORKERS;
  cluster.on('listening', (worker, at) => {
    if (--left === 0) console.log(`ready ${at.port}`);
  });
  for (let i = 0; i < WORKERS; i++) cluster.fork();
} else {
  http.createServer((req, res) => res.end('hello\n')).listen(0, '127.0.0.1');
}
