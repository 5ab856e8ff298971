// Measures what a short connection costs a server of Node, or Bun. COUNT and
// figures as in short.c:
//
//     short_node.js COUNT
'use strict';

const { spawn } = require('child_process');
const net = require('net');

const count = Number(process.argv[2]);
const server = net.createServer((socket) => {
  socket.on('data', () => socket.end('ok', () => socket.destroy()));
});

function cpu() {
  const usage = process.cpuUsage();
  return usage.user + usage.system;
}

// Calls done(us) with what n connections cost.
function run(n, done) {
  const begun = cpu();
  spawn('build/bench/connect', [server.address().port, n, 8, 'hi'],
    { stdio: 'inherit' }).on('exit', (code) => {
    if (code !== 0) throw new Error('the client failed');
    done(cpu() - begun);
  });
}

server.listen(0, '127.0.0.1', () => {
  run(Math.floor(count / 10) + 1, () => {
    run(count, (us) => {
      console.log(`cpu_us_per_op ${(us / count).toFixed(3)}`);
      server.close();
    });
  });
});
