// Shows whether memory stays flat with Node: execFile of `true`, one after the
// other. Parameters and figures as meter.flat in meter.lua has them, with V8's
// heap in the place of Lua's:
//
//     flat_node.js FIRST LAST
'use strict';
const { promisify } = require('util');
const { setFlagsFromString } = require('v8');
const { runInNewContext } = require('vm');
const execFile = promisify(require('child_process').execFile);

setFlagsFromString('--expose-gc');
const gc = runInNewContext('gc');

const [first, last] = process.argv.slice(2).map(Number);

async function run(n) {
  for (; n > 0; n--) await execFile('true');
}

function memory() {
  gc();
  const usage = process.memoryUsage();
  return { heap: usage.heapUsed / 1024, rss: usage.rss / 1024 };
}

async function main() {
  await run(first);
  const begun = memory();
  await run(last - first);
  const ended = memory();
  console.log(`heap_kib ${begun.heap.toFixed(3)}`);
  console.log(`heap_growth_kib ${(ended.heap - begun.heap).toFixed(3)}`);
  console.log(`rss_kib ${begun.rss.toFixed(0)}`);
  console.log(`rss_growth_kib ${(ended.rss - begun.rss).toFixed(0)}`);
}

main();
