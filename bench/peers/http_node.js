// A server of Node's, or Bun's, that says hello, for http_load.lua; with `read`
// it looks at two headers first.
'use strict';

const http = require('http');

const reads = process.argv[2] === 'read';
const server = http.createServer((req, res) => {
  if (reads && !(req.headers.host && req.headers.cookie)) throw new Error();
  res.end('hello\n');
});
server.listen(0, '127.0.0.1', () => {
  console.log(`ready ${server.address().port}`);
});
