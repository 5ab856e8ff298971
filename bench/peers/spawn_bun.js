// Measures what a start costs with Bun's own Bun.spawn, one after the other,
// stdio ignored. Parameters and figures as in spawn.c, without heap and
// sleepers:
//
//     spawn_bun.js COUNT 0 0 - PROGRAM [ARG...]
'use strict';

const count = Number(process.argv[2]);
const cmd = process.argv.slice(6);

// n starts, each from the exit of the one before.
function run(n, done) {
  if (n === 0) return done();
  Bun.spawn({
    cmd,
    stdio: ['ignore', 'ignore', 'ignore'],
    onExit: () => run(n - 1, done),
  });
}

function cpu() {
  const usage = process.cpuUsage();
  return usage.user + usage.system;
}

run(Math.floor(count / 10) + 1, () => {
  const wall = process.hrtime.bigint();
  const begun = cpu();
  run(count, () => {
    const seconds = Number(process.hrtime.bigint() - wall) / 1e9;
    console.log(`cpu_us_per_op ${((cpu() - begun) / count).toFixed(3)}`);
    console.log(`per_second ${(count / seconds).toFixed(1)}`);
  });
});
