// Measures what it costs with Node, or Bun, to accept a connection in one
// process and to answer it in another. COUNT and figures as in handles.c:
//
//     handles_node.js COUNT
'use strict';

const { fork, spawn } = require('child_process');
const net = require('net');

function cpu() {
  const usage = process.cpuUsage();
  return usage.user + usage.system;
}

function runChild() {
  process.on('message', (message, socket) => {
    if (message === 'cpu') process.send(cpu());
    else if (socket) socket.end('ok', () => socket.destroy());
    else process.exit(1);
  });
}

// CPU time of parent and child so far, in us.
function both(child, done) {
  child.once('message', (childs) => done(childs + cpu()));
  child.send('cpu');
}

// Calls done(us) with what n connections cost both.
function serve(child, port, n, done) {
  both(child, (begun) => {
    spawn('build/bench/connect', [port, n], { stdio: 'inherit' })
      .on('exit', (code) => {
        if (code !== 0) throw new Error('the client failed');
        both(child, (ended) => done(ended - begun));
      });
  });
}

function runParent() {
  const count = Number(process.argv[2]);
  const child = fork(__filename);
  const server = net.createServer((socket) => child.send('socket', socket));
  server.listen(0, '127.0.0.1', () => {
    const { port } = server.address();
    serve(child, port, Math.floor(count / 10) + 1, () => {
      serve(child, port, count, (us) => {
        console.log(`cpu_us_per_op ${(us / count).toFixed(3)}`);
        child.disconnect();
        server.close();
      });
    });
  });
}

if (process.send) runChild();
else runParent();
