'use strict';
// Runs the JavaScript that is its first argument, for spec/node/child_spec.lua: as a child
// of Orrery's, or as the parent of one. It may wait, and what it returns is printed
// as JSON.
const { spawn } = require('child_process');
const { once } = require('events');
const dgram = require('dgram');
const fs = require('fs');
const net = require('net');

const PRELUDE = 'local orrery = require "orrery" local process = orrery.process ';

// Starts Orrery with a program in Lua and a channel; `seen` lists its events.
function orrery(lua, options) {
  const child = spawn('bin/orrery', ['-e', PRELUDE + lua],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], ...options });
  // A write that takes time counts a reference that was not there: after it, Node
  // would end without having read the channel to its end.
  child.channel.ref?.();
  child.seen = [];
  for (const name of ['disconnect', 'exit', 'close', 'error'])
    child.on(name, (...values) => child.seen.push([name, ...values]));
  return child;
}

const inboxes = new Map();

// The next message of a child or of this process, and its handle. What comes while
// nobody waits is kept, from the first call on.
function next(emitter) {
  let inbox = inboxes.get(emitter);
  if (!inbox) {
    inbox = { items: [], waiting: [] };
    inboxes.set(emitter, inbox);
    emitter.on('message', (...item) => {
      const resolve = inbox.waiting.shift();
      if (resolve) resolve(item);
      else inbox.items.push(item);
    });
  }
  if (inbox.items.length) return Promise.resolve(inbox.items.shift());
  return new Promise((resolve) => inbox.waiting.push(resolve));
}

// A server that listens on the loopback.
async function serve(onConnection) {
  const server = net.createServer(onConnection);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

// Stops a child, until it gets SIGCONT.
function pause(child) {
  child.kill('SIGSTOP');
  while (!fs.readFileSync(`/proc/${child.pid}/stat`, 'utf8').includes(') T'));
}

// All that a port has to say, to who says `text`.
function ask(port, text = '') {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1');
    let answer = '';
    socket.setEncoding('utf8');
    socket.on('data', (chunk) => { answer += chunk; });
    socket.on('end', () => resolve(answer));
    socket.on('error', reject);
    if (text) socket.write(text);
  });
}

const scope = { orrery, next, serve, ask, pause, spawn, once, dgram, fs, net, require };
const AsyncFunction = serve.constructor;

new AsyncFunction(...Object.keys(scope), process.argv[2])(...Object.values(scope))
  .then((result) => {
    if (result !== undefined) console.log(JSON.stringify(result));
  });
