// An HTTP server and its clients in one process: keep-alive, streams, many requests at once, an abort.
import http from 'node:http';
import net from 'node:net';
import { once } from 'node:events';
import { createHash } from 'node:crypto';

const server = http.createServer(async (request, response) => {
  const hash = createHash('sha256');
  let length = 0;
  for await (const part of request) { hash.update(part); length += part.length; }
  response.setHeader('x-length', length);
  response.end(hash.digest('hex'));
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const { port } = server.address();
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });
const post = (body) => new Promise((resolve, reject) => {
  const request = http.request({ port, agent, method: 'POST' }, async (response) => {
    let text = '';
    for await (const part of response) text += part;
    resolve([response.statusCode, response.headers['x-length'], text.slice(0, 8)]);
  });
  request.on('error', reject);
  request.end(body);
});
console.log(await post('hello'), await post(Buffer.alloc(2_000_000, 'a')));
const many = await Promise.all(Array.from({ length: 60 }, (_, n) => post(`${n}`)));
console.log(many.length, new Set(many.map((answer) => answer[2])).size);
console.log((await (await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: 'fetched' })).text()).slice(0, 8));
try {
  await fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.abort() });
} catch (error) { console.log(error.name); }
const refused = net.connect(1, '127.0.0.1');
console.log((await once(refused, 'error').catch((error) => [error]))[0].code);
const unix = net.createServer((socket) => socket.pipe(socket)).listen('echo.sock');
await once(unix, 'listening');
const client = net.connect('echo.sock');
client.write('through a unix socket');
console.log(String((await once(client, 'data'))[0]));
client.destroy();
unix.close();
agent.destroy();
server.close();
server.closeAllConnections();
process.exitCode = 13;
