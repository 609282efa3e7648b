'use strict';
// What the Node.js runtime does around a snapshot: hooks, and random numbers of one's own.
//
// Every clone wakes up in the middle of `restoreNext` with the memory of the original. The kernel
// has made its own random numbers anew by then. Of those in the process:
// * OpenSSL (crypto, TLS): no JavaScript can reseed its generator, so it is replaced by the
//   processor's own (RDRAND), which has no state to share. OpenSSL decides with its first random
//   number, long before any JavaScript runs (setEngine comes too late and says nothing), so the
//   interpreter is started with openssl.cnf.
// * crypto.randomUUID and crypto.randomInt draw from caches filled ahead: they are replaced by
//   ones without.
// * Math.random: V8 seeds it once per context and cannot be told to again. It is replaced by
//   xoshiro128** (Blackman and Vigna), as fast, seeded from the kernel before and after.

const fs = require('fs');
const { hooks } = require('./rekindle.js');

const env = process.env;
/** Without it clones would share OpenSSL's random numbers. */
const CONFIGURATION = `--openssl-config=${__dirname}/openssl.cnf`;
const seed = new Uint32Array(4);

/** Fills `array` from the kernel, without anybody's cache. */
function urandom(array) {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  const file = fs.openSync('/dev/urandom', 'r');
  try {
    for (let at = 0; at < bytes.length; ) at += fs.readSync(file, bytes, at, bytes.length - at, null);
  } finally {
    fs.closeSync(file);
  }
}

let s0 = 1;
let s1 = 2;
let s2 = 3;
let s3 = 4;

function seedMathRandom() {
  urandom(seed);
  seed[0] |= 1; // not all zero
  [s0, s1, s2, s3] = [seed[0] | 0, seed[1] | 0, seed[2] | 0, seed[3] | 0];
}

function draw() {
  let word = Math.imul(s1, 5);
  word = Math.imul((word << 7) | (word >>> 25), 9);
  const shifted = s1 << 9;
  s2 ^= s0;
  s3 ^= s1;
  s1 ^= s2;
  s0 ^= s3;
  s2 ^= shifted;
  s3 = (s3 << 11) | (s3 >>> 21);
  return word >>> 0;
}

/** 53 random bits, as V8's has 52. */
function random() {
  return (draw() * 0x200000 + (draw() >>> 11)) / 0x20000000000000;
}

function uncached(crypto) {
  const { randomUUID } = crypto;
  crypto.randomUUID = function (options) {
    return randomUUID({ ...options, disableEntropyCache: true });
  };
  const web = Object.getPrototypeOf(crypto.webcrypto);
  web.randomUUID = function () {
    return crypto.randomUUID();
  };
  const { randomInt, randomFillSync } = crypto;
  const six = new Uint8Array(6);
  crypto.randomInt = function (min, max, callback) {
    // The original checks the arguments and words its refusals; asking it for one of one value
    // leaves its cache alone.
    if (max === undefined || typeof max === 'function') [min, max, callback] = [0, min, max];
    if (!Number.isSafeInteger(min) || !Number.isSafeInteger(max) || max <= min || max - min > 0xffffffffffff
      || (callback !== undefined && typeof callback !== 'function')) {
      return randomInt(min, max, callback);
    }
    const range = max - min;
    const limit = 0x1000000000000 - (0x1000000000000 % range);
    let drawn;
    do {
      randomFillSync(six);
      drawn = six[0] + six[1] * 0x100 + six[2] * 0x10000 + six[3] * 0x1000000 + (six[4] + six[5] * 0x100) * 0x100000000;
    } while (drawn >= limit);
    const value = min + (drawn % range);
    if (callback === undefined) return value;
    process.nextTick(callback, undefined, value);
  };
  require('module').syncBuiltinESMExports();
}

/**
 * To be called before the function is loaded. Whether clones of this process can have random numbers
 * of their own; if not, it must not be captured.
 */
function prepare() {
  const crypto = require('crypto');
  if (!process.execArgv.includes(CONFIGURATION)) {
    process.stderr.write('rekindle: OpenSSL does not draw from RDRAND here: starts without a snapshot\n');
    return false;
  }
  uncached(crypto);
  seedMathRandom();
  Math.random = random;
  hooks.reseed = seedMathRandom;
  return true;
}

/** A hook of the function threw: what to tell, where, and the status to exit with. */
class HookFailed extends Error {
  constructor(cause, at, errorType, status) {
    super(errorType, { cause });
    Object.assign(this, { at, errorType, status });
  }
}

/** Runs the hooks before, lets the platform take its snapshot, and runs the hooks after. */
async function passThroughSnapshot(api) {
  try {
    while (hooks.before.length) {
      // Taken off before it runs: the last registered is the first to run.
      const [hook, args] = hooks.before.pop();
      await hook(...args);
    }
  } catch (error) {
    throw new HookFailed(error, 'init/error', 'Runtime.BeforeSnapshotError', 64);
  }
  const late = await api.restoreNext();
  try {
    Object.assign(env, late);
    seedMathRandom();
    for (const [hook, args] of hooks.after) await hook(...args);
  } catch (error) {
    throw new HookFailed(error, 'restore/error', 'Runtime.AfterRestoreError', 65);
  }
}

module.exports = { prepare, passThroughSnapshot, HookFailed };
