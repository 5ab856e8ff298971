// Measures what exec('echo hi') costs with Bun's own Bun.spawn and a pipe for
// stdout, one after the other. COUNT and figures as in exec.c:
//
//     exec_bun.js COUNT
'use strict';

const count = Number(process.argv[2]);
const options = { stdio: ['ignore', 'pipe', 'ignore'] };

async function run(n) {
  for (; n > 0; n--) {
    const child = Bun.spawn(['/bin/sh', '-c', 'echo hi'], options);
    const stdout = await child.stdout.text();
    if (await child.exited !== 0 || stdout !== 'hi\n') {
      throw new Error('wrong output');
    }
  }
}

function cpu() {
  const usage = process.cpuUsage();
  return usage.user + usage.system;
}

run(Math.floor(count / 10) + 1).then(async () => {
  const begun = cpu();
  await run(count);
  console.log(`cpu_us_per_op ${((cpu() - begun) / count).toFixed(3)}`);
});
