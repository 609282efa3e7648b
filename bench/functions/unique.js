'use strict';
// Everything that no two clones may share, and the clocks.

const crypto = require('crypto');
const fs = require('fs');
const os = require('os');
const tls = require('tls');
const { Duplex } = require('stream');

// Before the snapshot, if there is one.
const loadedAt = process.hrtime.bigint();

/** The random bytes of the ClientHello that a TLS client would send (RFC 8446, 4.1.2). */
function hello() {
  return new Promise((done, failed) => {
    const socket = new Duplex({
      read() {},
      write(chunk, encoding, next) {
        next();
        done(chunk.subarray(11, 43).toString('hex'));
      },
    });
    tls.connect({ socket, servername: 'localhost' }).on('error', failed);
  });
}

exports.handler = async () => {
  const [wall, first] = [Date.now(), process.hrtime.bigint()];
  const bytes = Buffer.alloc(16);
  const urandom = fs.openSync('/dev/urandom', 'r');
  fs.readSync(urandom, bytes);
  fs.closeSync(urandom);
  const values = {
    urandom: bytes.toString('hex'),
    boot_id: fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
    hostname: os.hostname(),
    random_bytes: crypto.randomBytes(16).toString('hex'),
    random_uuid: crypto.randomUUID(),
    math_random: `${Math.random()} ${Math.random()}`,
    tls: await hello(),
  };
  const monotonic = [loadedAt, first, process.hrtime.bigint()].map(String);
  return { values, wall_ms: wall, monotonic_ns: monotonic };
};
