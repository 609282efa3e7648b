'use strict';
// A function with the imports of a web application: express if it is there, else as much of Node's own modules.

let loaded = 'express';
try {
  const app = require('express')();
  app.get('/', (request, response) => response.json({}));
} catch {
  for (const name of ['http', 'https', 'http2', 'zlib', 'tls', 'dns', 'url', 'querystring', 'stream', 'crypto',
    'child_process', 'readline', 'worker_threads', 'util', 'assert', 'async_hooks']) require(name);
  loaded = 'own modules';
}

exports.handler = async (event) => {
  if (event.hold_ms) await new Promise((done) => setTimeout(done, event.hold_ms));
  return { greeting: `Hello, ${event.name}!`, loaded };
};
