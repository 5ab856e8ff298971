// Measures how long Node's fork, or Bun's, takes until the child has answered a
// message, and what memory the child has. Figures as in forking.lua:
//
//     forking_node.js COUNT
'use strict';

const { fork } = require('child_process');
const fs = require('fs');

const count = Number(process.argv[2]);
const times = [];

function printMemory(pid) {
  const text = fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  let privately = 0;
  for (const [, kib] of text.matchAll(/Private_\w+:\s*(\d+)/g)) {
    privately += Number(kib);
  }
  console.log(`rss_kib ${text.match(/Rss:\s*(\d+)/)[1]}`);
  console.log(`private_kib ${privately}`);
}

function finish(child) {
  times.sort((a, b) => a - b);
  console.log(`wall_ms ${times[Math.floor(count / 2)].toFixed(3)}`);
  setTimeout(() => {
    printMemory(child.pid);
    child.disconnect();
  }, 300);
}

function one() {
  const begun = process.hrtime.bigint();
  const child = fork(__filename);
  child.send('hello');
  child.once('message', () => {
    times.push(Number(process.hrtime.bigint() - begun) / 1e6);
    if (times.length === count) return finish(child);
    child.on('exit', one);
    child.disconnect();
  });
}

if (process.send) process.on('message', (message) => process.send(message));
else one();
