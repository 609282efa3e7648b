// node:crypto: hashes, ciphers, keys, signatures, derivation in the thread pool, random bytes.
import crypto from 'node:crypto';
import { promisify } from 'node:util';

console.log(crypto.createHash('sha512').update('abc').digest('hex').slice(0, 32), crypto.createHmac('sha1', 'k').update('v').digest('base64'));
const key = Buffer.alloc(32, 1);
const cipher = crypto.createCipheriv('aes-256-gcm', key, Buffer.alloc(12));
const sealed = Buffer.concat([cipher.update('secret'.repeat(1000)), cipher.final()]);
const decipher = crypto.createDecipheriv('aes-256-gcm', key, Buffer.alloc(12)).setAuthTag(cipher.getAuthTag());
console.log(sealed.toString('hex', 0, 8), (decipher.update(sealed, undefined, 'utf8') + decipher.final('utf8')).length);
const { publicKey, privateKey } = await promisify(crypto.generateKeyPair)('ed25519');
const signature = crypto.sign(null, Buffer.from('text'), privateKey);
console.log(crypto.verify(null, Buffer.from('text'), publicKey, signature), crypto.verify(null, Buffer.from('other'), publicKey, signature));
const derived = await Promise.all(Array.from({ length: 8 }, (_, n) => promisify(crypto.pbkdf2)('p', `${n}`, 2000, 16, 'sha256')));
console.log(derived.map((bytes) => bytes.toString('hex', 0, 2)).join(' '));
console.log((await promisify(crypto.scrypt)('p', 's', 16)).toString('hex'));
console.log(new Set(Array.from({ length: 100 }, () => crypto.randomUUID())).size, crypto.randomBytes(1 << 20).length);
console.log((await crypto.subtle.digest('SHA-256', Buffer.from('x'))).byteLength);
process.exitCode = 17;
