// child_process: exec, spawn with pipes, fork with messages, signals, time limits, standard input of a size.
import { execFileSync, exec, fork, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';

if (process.argv[2] === 'child') {
  process.on('message', (message) => {
    if (message === 'bye') process.exit(22);
    process.send({ got: message });
  });
} else {
  console.log(execFileSync('expr', ['6', '*', '7']).toString().trim());
  console.log(await promisify(exec)('seq 100 | paste -sd+ | sed s/+/,/g | cut -c1-20'));
  const cat = spawn('cat');
  let length = 0;
  cat.stdout.on('data', (part) => { length += part.length; });
  cat.stdin.end(Buffer.alloc(3_000_000, 'x'));
  console.log(await once(cat, 'close'), length);
  const child = fork(process.argv[1], ['child']);
  child.send({ nested: [1, 2, 3] });
  console.log((await once(child, 'message'))[0]);
  child.send('bye');
  console.log(await once(child, 'exit'));
  const sleeping = spawn('sleep', ['60']);
  sleeping.kill('SIGINT');
  console.log(await once(sleeping, 'exit'));
  console.log(spawnSync('sleep', ['60'], { timeout: 50 }).signal);
  console.log((await once(spawn('/no/such/program'), 'error'))[0].code);
  const { status, stderr } = spawnSync('sh', ['-c', 'echo wrong >&2; exit 3'], { encoding: 'utf8' });
  console.log(status, stderr.trim());
  process.once('SIGUSR2', () => { console.log('signal'); process.exit(16); });
  process.kill(process.pid, 'SIGUSR2');
  setInterval(() => {}, 1000);
}
