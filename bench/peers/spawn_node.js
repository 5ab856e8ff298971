// Measures what a start costs with Node, or Bun in its place:
// child_process.spawn, one after the other, stdio ignored. Parameters and
// figures as in spawn.c:
//
//     spawn_node.js COUNT HEAP_MIB ALIVE SLEEPER PROGRAM [ARG...]
'use strict';
const { spawn } = require('child_process');

const [count, heapMib, alive] = process.argv.slice(2, 5).map(Number);
const [sleeper, program, ...args] = process.argv.slice(5);
const options = { stdio: 'ignore' };

// n starts, each from the exit of the one before.
function run(n, done) {
  if (n === 0) return done();
  spawn(program, args, options).on('exit', () => run(n - 1, done));
}

function cpu() {
  const usage = process.cpuUsage();
  return usage.user + usage.system;
}

function measure(done) {
  const wall = process.hrtime.bigint();
  const begun = cpu();
  run(count, () => {
    const seconds = Number(process.hrtime.bigint() - wall) / 1e9;
    console.log(`cpu_us_per_op ${((cpu() - begun) / count).toFixed(3)}`);
    console.log(`per_second ${(count / seconds).toFixed(1)}`);
    done();
  });
}

const heap = heapMib > 0 ? Buffer.alloc(heapMib * 1024 * 1024, 1) : null;
const sleepers = [];
for (let i = 0; i < alive; i++) {
  sleepers.push(spawn(sleeper, ['sleep'], options));
}
run(Math.floor(count / 10) + 1, () => measure(() => {
  if (heap && heap[heap.length - 1] !== 1) throw new Error('the heap is gone');
  process.exit(); // the sleepers end with us: reaping takes n * n / 2 calls
}));
