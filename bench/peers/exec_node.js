// Measures what exec('echo hi') costs with Node, or Bun in its place:
// child_process.exec, one after the other. COUNT and figures as in exec.c:
//
//     exec_node.js COUNT
'use strict';
const { exec } = require('child_process');

const count = Number(process.argv[2]);

// n times, each from the callback of the one before.
function run(n, done) {
  if (n === 0) return done();
  exec('echo hi', (err, stdout) => {
    if (err || stdout !== 'hi\n') throw err || new Error('wrong output');
    run(n - 1, done);
  });
}

function cpu() {
  const usage = process.cpuUsage();
  return usage.user + usage.system;
}

run(Math.floor(count / 10) + 1, () => {
  const begun = cpu();
  run(count, () => {
    console.log(`cpu_us_per_op ${((cpu() - begun) / count).toFixed(3)}`);
  });
});
