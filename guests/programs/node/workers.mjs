// worker_threads: messages, transferred and shared memory, Atomics, an error, an exit code, termination.
import { Worker, isMainThread, parentPort, workerData, MessageChannel } from 'node:worker_threads';
import { once } from 'node:events';

if (!isMainThread) {
  const { kind, shared } = workerData;
  if (kind === 'throw') throw new TypeError('as asked');
  if (kind === 'exit') process.exit(21);
  if (kind === 'spin') for (;;) { /* until terminated */ }
  if (kind === 'wait') {
    parentPort.postMessage('waiting');
    Atomics.wait(shared, 1, 0);
    parentPort.postMessage('woken');
  }
  if (kind === 'add') {
    for (let n = 0; n < 20_000; n += 1) Atomics.add(shared, 0, 1);
    parentPort.postMessage('done');
  }
  if (kind === 'sum') {
    parentPort.once('message', ({ numbers, port }) => port.postMessage(numbers.reduce((sum, n) => sum + n)));
  }
} else {
  const shared = new Int32Array(new SharedArrayBuffer(8));
  const start = (kind) => new Worker(new URL(import.meta.url), { workerData: { kind, shared } });
  await Promise.all(Array.from({ length: 4 }, () => once(start('add'), 'message')));
  console.log(Atomics.load(shared, 0));
  const waiting = start('wait');
  console.log((await once(waiting, 'message'))[0]);
  Atomics.store(shared, 1, 1);
  Atomics.notify(shared, 1);
  console.log((await once(waiting, 'message'))[0]);
  const { port1, port2 } = new MessageChannel();
  const numbers = new Float64Array(100_000).fill(0.5);
  start('sum').postMessage({ numbers, port: port2 }, [numbers.buffer, port2]);
  console.log((await once(port1, 'message'))[0], numbers.length);
  port1.close();
  console.log((await once(start('throw'), 'error'))[0].message);
  console.log((await once(start('exit'), 'exit'))[0]);
  const spinning = start('spin');
  await once(spinning, 'online');
  console.log(await spinning.terminate());
  process.exitCode = 15;
}
