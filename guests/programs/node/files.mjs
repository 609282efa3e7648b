// node:fs in its three forms: callbacks' promises, streams, synchronous; watching, links, errors.
import fs from 'node:fs';
import { once } from 'node:events';
import { pipeline } from 'node:stream/promises';
import { createGzip, createGunzip } from 'node:zlib';

await fs.promises.mkdir('a/b/c', { recursive: true });
await fs.promises.writeFile('a/text', 'line\n'.repeat(50_000));
await pipeline(fs.createReadStream('a/text'), createGzip(), fs.createWriteStream('a/text.gz'));
await pipeline(fs.createReadStream('a/text.gz'), createGunzip(), fs.createWriteStream('a/again'));
console.log(fs.statSync('a/again').size, fs.readFileSync('a/again').equals(fs.readFileSync('a/text')));
fs.symlinkSync('text', 'a/link');
fs.linkSync('a/text', 'a/hard');
fs.appendFileSync('a/link', 'end');
console.log(fs.readlinkSync('a/link'), fs.statSync('a/hard').nlink, fs.readFileSync('a/hard', 'utf8').slice(-3));
fs.chmodSync('a/hard', 0o600);
console.log((fs.statSync('a/text').mode & 0o777).toString(8), fs.readdirSync('a').sort());
const watcher = fs.watch('a/b');
const seen = once(watcher, 'change');
fs.writeFileSync('a/b/new', '');
console.log((await seen)[1]);
watcher.close();
const handle = await fs.promises.open('a/sparse', 'w+');
await handle.write(Buffer.from('far'), 0, 3, 1_000_000);
await handle.truncate(1_000_002);
const { bytesRead, buffer } = await handle.read(Buffer.alloc(10), 0, 10, 999_998);
console.log(bytesRead, [...buffer.subarray(0, bytesRead)]);
await handle.close();
await Promise.all(Array.from({ length: 200 }, (_, n) => fs.promises.writeFile(`a/b/c/${n}`, `${n}`)));
const back = await Promise.all(fs.readdirSync('a/b/c').map((name) => fs.promises.readFile(`a/b/c/${name}`, 'utf8')));
console.log(back.map(Number).reduce((sum, n) => sum + n));
for (const wrong of [() => fs.readFileSync('a'), () => fs.mkdirSync('a'), () => fs.rmdirSync('a'), () => fs.openSync('none')]) {
  try { wrong(); } catch (error) { console.log(error.code); }
}
fs.utimesSync('a/text', 1, 2);
console.log(fs.statSync('a/text').mtimeMs);
await fs.promises.rename('a', 'z');
await fs.promises.rm('z', { recursive: true });
console.log(fs.existsSync('z'), fs.existsSync('a'));
process.exitCode = 14;
