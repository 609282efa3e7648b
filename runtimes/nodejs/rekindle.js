'use strict';
// What a Node.js function can ask of the platform, as `require('rekindle')` or the global `rekindle`.

const before = [];
const after = [];

/** Has `hook` run before the snapshot is taken, the last registered first; may be async. Returns `hook`. */
function registerBeforeSnapshot(hook, ...args) {
  before.push([hook, args]);
  return hook;
}

/** Has `hook` run after each restore and before the first event, in order; may be async. Returns `hook`. */
function registerAfterRestore(hook, ...args) {
  after.push([hook, args]);
  return hook;
}

let natives;

/** V8's own words, which are syntax only while a flag is set. */
function v8Natives() {
  if (natives) return natives;
  const v8 = require('v8');
  v8.setFlagsFromString('--allow-natives-syntax');
  try {
    natives = {
      prepare: new Function('fn', '%PrepareFunctionForOptimization(fn)'),
      optimize: new Function('fn', '%OptimizeFunctionOnNextCall(fn)'),
      status: new Function('fn', 'return %GetOptimizationStatus(fn)'),
    };
    // Functions are parsed when they are first called.
    const sample = () => 0;
    natives.prepare(sample);
    sample();
    natives.optimize(sample);
    natives.status(sample);
  } finally {
    v8.setFlagsFromString('--no-allow-natives-syntax');
  }
  return natives;
}

/** The bit of %GetOptimizationStatus that says: has optimised code (src/runtime/runtime.h of V8). */
const OPTIMIZED = 1 << 4;

/**
 * Has V8 compile `fn` with its optimising compiler now, by calling it with `args`; what it compiles
 * is in the snapshot, so that the first call of a clone runs at full speed. Returns whether `fn` is
 * optimised; a promise of that if `fn` is async. V8 throws the code away when later calls have
 * arguments of other types.
 */
function optimize(fn, ...args) {
  if (typeof fn !== 'function') throw new TypeError('rekindle.optimize wants a function');
  const { prepare, optimize, status } = v8Natives();
  const done = () => (status(fn) & OPTIMIZED) !== 0;
  prepare(fn);
  // Twice, so that it has seen its own types; then the call that compiles.
  const calls = [() => fn(...args), () => fn(...args), () => (optimize(fn), fn(...args))];
  for (const [at, call] of calls.entries()) {
    const result = call();
    if (result && typeof result.then === 'function') {
      return calls.slice(at + 1).reduce((last, next) => last.then(next), result).then(done);
    }
  }
  return done();
}

const FILE = '/proc/rekindle/snapshot';

/**
 * Asks for the snapshot at this very point: to be called while the function is loaded. Returns
 * `captured` in the original, `restored` in each clone, whose random numbers have been made anew, and
 * `none` where no snapshot was taken.
 */
function snapshotHere() {
  if (!hooks.reseed) return 'none';
  const fs = require('fs');
  let word;
  try {
    fs.writeFileSync(FILE, 'now');
    word = fs.readFileSync(FILE, 'utf8').trim();
  } catch {
    return 'none';
  }
  if (word === 'restored') hooks.reseed();
  return word;
}

/** `reseed` is set by a runtime whose clones can have random numbers of their own. */
const hooks = { before, after, reseed: undefined };

module.exports = { registerBeforeSnapshot, registerAfterRestore, optimize, snapshotHere };
/** For the runtime. */
Object.defineProperty(module.exports, 'hooks', { value: hooks });
