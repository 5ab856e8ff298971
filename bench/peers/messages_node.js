// Measures what messages between a forked child and its parent cost with Node's
// child_process, or Bun's. Parameters and figures as in messages.c:
//
//     messages_node.js roundtrip|down|up COUNT [SIZE]
'use strict';

const { fork } = require('child_process');
const fs = require('fs');

const [mode, count, size] = [process.argv[2], Number(process.argv[3]),
  Number(process.argv[4] || 0)];

// Of this many messages, the last is waited for.
const batch = size > 0 ? Math.max(1, Math.floor(128 * 1024 / size)) : 1000;

// Sends n messages as fast as the peer takes them.
function sendAll(peer, n) {
  const text = size > 0 ? 'x'.repeat(size) : null;
  let i = 0;
  function more() {
    while (i < n) {
      i++;
      const message = text || { id: i, name: 'zfpx' };
      if (i % batch === 0 && i < n) return peer.send(message, more);
      peer.send(message);
    }
  }
  more();
}

function runChild() {
  let left;
  process.on('message', (message) => {
    if (mode === 'roundtrip') {
      process.send(message);
    } else if (typeof message === 'number') {
      left = message;
      if (mode === 'up') sendAll(process, left);
    } else if (--left === 0) {
      process.send(true);
    }
  });
}

const starts = {
  roundtrip(child, n, done) {
    child.send({ id: 1, name: 'zfpx' });
    return (back) => --n === 0 ? done() : child.send(back);
  },
  down(child, n, done) {
    child.send(n);
    sendAll(child, n);
    return done;
  },
  up(child, n, done) {
    child.send(n);
    return () => { if (--n === 0) done(); };
  },
};

function peak(pid) {
  const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8');
  return status.match(/VmHWM:\s*(\d+)/)[1] / 1024;
}

function report(seconds, pid) {
  const mib = count * size / (1 << 20);
  const say = (name, value) =>
    console.log(`${mode}_${name} ${value.toFixed(3)}`);
  say('per_second', count / seconds);
  say('mb_per_second', count * size / seconds / 1e6);
  say('ms', seconds * 1e3);
  say('ms_per_mib', seconds * 1e3 / mib);
  say('parent_peak_mib', peak('self'));
  say('child_peak_mib', peak(pid));
}

function runParent() {
  const child = fork(__filename, process.argv.slice(2));
  let onMessage;
  function measure() {
    const begun = process.hrtime.bigint();
    onMessage = starts[mode](child, count, () => {
      report(Number(process.hrtime.bigint() - begun) / 1e9, child.pid);
      child.disconnect();
    });
  }
  child.on('message', (message) => onMessage(message));
  if (count === 1) measure();
  else onMessage = starts[mode](child, Math.floor(count / 10) + 1, measure);
}

if (process.send) runChild();
else runParent();
