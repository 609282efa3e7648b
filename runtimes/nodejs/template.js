'use strict';
// What the Node.js runtime does before it knows its function: it loads what many functions have in common
// and waits, while it is captured, to be told which function it is. Each then begins in a clone of it.

const { hooks } = require('./rekindle.js');

const env = process.env;

/** The interpreter's own modules that many functions load; no module of a function can take their names. */
const COMMON = 'assert async_hooks buffer child_process crypto dns events fs fs/promises http https module net os path'
  + ' perf_hooks querystring stream stream/promises string_decoder timers timers/promises tls url util'
  + ' worker_threads zlib';

/** Comes back as a function: with its variables, and random numbers of its own. */
async function becomeAFunction(api) {
  for (const name of COMMON.split(' ')) require(name);
  const variables = await api.waitIn('template/next');
  for (const name of Object.keys(env)) if (!(name in variables)) delete env[name];
  for (const [name, value] of Object.entries(variables)) if (env[name] !== value) env[name] = value;
  hooks.reseed();
}

module.exports = { becomeAFunction };
