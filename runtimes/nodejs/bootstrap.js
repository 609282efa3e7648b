'use strict';
// Runs a Node.js Lambda function: loads the handler named by _HANDLER and feeds it
// events from the Lambda Runtime API, one at a time over one connection.
//
// CommonJS and nothing but `net`, `fs` and `path`: each further module makes every
// cold start slower.

const fs = require('fs');
const net = require('net');
const path = require('path');
const { format } = require('util');

const API = '/2018-06-01/runtime/';
const env = process.env;
let jsonLogs;
let currentRequestId;

/** A failure named as AWS names it. */
class Fault extends Error {
  constructor(name, message) {
    super(message);
    this.name = name;
  }
}

// --- the Runtime API -------------------------------------------------------

/** One keep-alive HTTP/1.1 connection to the Runtime API. */
class Api {
  constructor(address) {
    const at = address.lastIndexOf(':');
    this.common = ` HTTP/1.1\r\nHost: ${address}\r\nUser-Agent: rekindle-nodejs\r\n`;
    this.bytes = [];
    this.length = 0;
    this.waiting = null;
    this.socket = net.connect({ host: address.slice(0, at), port: Number(address.slice(at + 1)), noDelay: true });
    this.socket.on('data', (data) => this.#take(data));
    const lost = (error) => {
      process.stderr.write(`lost the Runtime API: ${error ? error.message : 'connection closed'}\n`);
      process.exit(1);
    };
    this.socket.on('error', lost);
    this.socket.on('end', lost);
  }

  /** Resolves once connected. */
  connected() {
    return new Promise((resolve) => this.socket.once('connect', resolve));
  }

  async next() {
    const answer = await this.#call(Buffer.from(`GET ${API}invocation/next${this.common}\r\n`));
    if (answer.status !== 200) throw new Error(`asking for an event was answered ${answer.status}`);
    return answer;
  }

  /** Waits while the snapshot is taken; what only a clone may know, by name. */
  async restoreNext() {
    return this.waitIn('restore/next');
  }

  /** Waits there while the snapshot is taken; the variables in the answer. */
  async waitIn(path) {
    const answer = await this.#call(Buffer.from(`GET ${API}${path}${this.common}\r\n`));
    if (answer.status !== 200) throw new Error(`waiting for the snapshot was answered ${answer.status}`);
    return answer.body.length ? JSON.parse(answer.body.toString('utf8')).environment : {};
  }

  async post(path, body, { errorType, echo, contentType = 'application/json' } = {}) {
    const bytes = Buffer.isBuffer(body) ? body : Buffer.from(body);
    let head = `POST ${API}${path}${this.common}Content-Type: ${contentType}\r\nContent-Length: ${bytes.length}\r\n`;
    if (errorType) head += `Lambda-Runtime-Function-Error-Type: ${plain(errorType)}\r\n`;
    if (echo) head += `Lambda-Runtime-Invocation-Id: ${echo}\r\n`;
    const answer = await this.#call(Buffer.concat([Buffer.from(`${head}\r\n`), bytes]));
    return answer.status;
  }

  /** Begins to post a response bit by bit: its parts, then how it ended, go through what comes back. */
  stream(path, { echo, contentType }) {
    let head = `POST ${API}${path}${this.common}Content-Type: ${contentType}\r\nTransfer-Encoding: chunked\r\n`
      + 'Lambda-Runtime-Function-Response-Mode: streaming\r\n'
      + 'Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n';
    if (echo) head += `Lambda-Runtime-Invocation-Id: ${echo}\r\n`;
    // What is written first goes along with it.
    this.socket.cork();
    this.socket.write(`${head}\r\n`);
    process.nextTick(() => this.socket.uncork());
    this.streaming = {
      /** Calls `done` when the platform has taken `data`: a client that stalls holds it back. */
      write: (data, done) => {
        this.socket.cork();
        this.socket.write(`${data.length.toString(16)}\r\n`);
        this.socket.write(data);
        this.socket.write('\r\n', done);
        this.socket.uncork();
      },
      /** Ends the response, as a failure if there is a report of one; resolves to the status. */
      end: async (report) => {
        this.streaming = null;
        const trailers = report
          ? `Lambda-Runtime-Function-Error-Type: ${plain(report.errorType)}\r\n`
            + `Lambda-Runtime-Function-Error-Body: ${errorTrailer(report)}\r\n`
          : '';
        return (await this.#call(Buffer.from(`0\r\n${trailers}\r\n`))).status;
      },
    };
    return this.streaming;
  }

  #call(request) {
    // While it waits for an answer the process stays alive; while a handler runs
    // it must not, so that an empty event loop can be seen.
    this.socket.ref();
    return new Promise((resolve) => {
      this.waiting = resolve;
      this.socket.write(request);
    });
  }

  #take(data) {
    this.bytes.push(data);
    this.length += data.length;
    if (this.needed > this.length) return;
    const all = this.bytes.length === 1 ? this.bytes[0] : Buffer.concat(this.bytes);
    this.bytes = [all];
    const answer = parseAnswer(all);
    if (typeof answer === 'number') {
      this.needed = answer;
      return;
    }
    this.needed = 0;
    this.bytes = answer.rest.length ? [answer.rest] : [];
    this.length = answer.rest.length;
    this.socket.unref();
    const resolve = this.waiting;
    this.waiting = null;
    if (resolve) resolve(answer);
  }
}

/** `text` as a header can carry it. */
function plain(text) {
  return String(text).replace(/[^\x20-\x7e]/g, '?');
}

/** Bytes of a report that trailers have room for: in base64 it may be 64 KiB long with all other trailers. */
const ERROR_TRAILER_BYTES = 45_000;

/** A report as a trailer carries it; without its trace if it is too long. */
function errorTrailer(report) {
  const whole = Buffer.from(JSON.stringify(report));
  if (whole.length <= ERROR_TRAILER_BYTES) return whole.toString('base64');
  const short = { ...report, errorMessage: report.errorMessage.slice(0, 10_000), trace: [] };
  return Buffer.from(JSON.stringify(short)).toString('base64');
}

/** An HTTP answer at the start of `all`, or how many bytes are needed at least. */
function parseAnswer(all) {
  const end = all.indexOf('\r\n\r\n');
  if (end < 0) return all.length + 1;
  const lines = all.toString('utf8', 0, end).split('\r\n');
  const headers = {};
  for (const line of lines.slice(1)) {
    const colon = line.indexOf(':');
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  const status = Number(lines[0].split(' ')[1]);
  let at = end + 4;
  if ((headers['transfer-encoding'] || '').toLowerCase() !== 'chunked') {
    const stop = at + Number(headers['content-length'] || 0);
    if (stop > all.length) return stop;
    return { status, headers, body: all.subarray(at, stop), rest: all.subarray(stop) };
  }
  const parts = [];
  for (;;) {
    const line = all.indexOf('\r\n', at);
    if (line < 0) return all.length + 1;
    const size = parseInt(all.toString('latin1', at, line), 16);
    at = line + 2;
    if (size === 0) {
      const stop = all.indexOf('\r\n', at);
      if (stop < 0) return all.length + 1;
      return { status, headers, body: Buffer.concat(parts), rest: all.subarray(stop + 2) };
    }
    if (at + size + 2 > all.length) return at + size + 2;
    parts.push(all.subarray(at, at + size));
    at += size + 2;
  }
}

// --- logs ------------------------------------------------------------------

const LEVELS = ['TRACE', 'DEBUG', 'INFO', 'WARN', 'ERROR', 'FATAL'];

/** Has `console` write log lines as the variables want them. */
function patchConsole() {
  jsonLogs = (env.AWS_LAMBDA_LOG_FORMAT || '').toUpperCase() === 'JSON';
  const least = LEVELS.indexOf((env.AWS_LAMBDA_LOG_LEVEL || 'TRACE').toUpperCase());
  const methods = { log: 'INFO', trace: 'TRACE', debug: 'DEBUG', info: 'INFO', warn: 'WARN', error: 'ERROR', fatal: 'FATAL' };
  for (const [method, level] of Object.entries(methods)) {
    const silent = jsonLogs && LEVELS.indexOf(level) < least;
    console[method] = (...args) => {
      if (!silent) logLine(level, args);
    };
  }
}

function logLine(level, args) {
  const timestamp = new Date().toISOString();
  if (!jsonLogs) {
    write(`${timestamp}\t${currentRequestId}\t${level}\t${format(...args)}\n`);
    return;
  }
  const record = { timestamp, level, requestId: currentRequestId };
  const error = args.find((arg) => arg instanceof Error);
  record.message = args.length === 1 && typeof args[0] === 'object' && !error ? args[0] : format(...args);
  if (error) {
    record.errorType = error.name;
    record.errorMessage = error.message;
    record.stackTrace = String(error.stack).split('\n');
  }
  let text;
  try {
    text = JSON.stringify(record);
  } catch {
    record.message = format(...args);
    text = JSON.stringify(record);
  }
  write(`${text}\n`);
}

/** Writes at once: what is buffered when the instance is frozen comes too late. */
function write(text) {
  let rest = Buffer.from(text);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(fs.writeSync(1, rest));
    } catch (error) {
      if (error.code !== 'EAGAIN') return;
    }
  }
}

// --- errors ----------------------------------------------------------------

/** The JSON object that AWS answers for something thrown. */
function errorBody(error) {
  if (error instanceof Error || Object.prototype.toString.call(error) === '[object Error]') {
    const trace = String(error.stack || `${error.name}: ${error.message}`).split('\n');
    return { errorType: String(error.name), errorMessage: String(error.message), trace };
  }
  return { errorType: typeof error, errorMessage: String(error), trace: [] };
}

// --- the function ----------------------------------------------------------

/** Finds the file of a module below the task root; what is to be imported and what required. */
function findModule(base, packageRoot) {
  const isFile = (name) => fs.existsSync(name) && fs.statSync(name).isFile();
  for (const extension of ['', '.js', '.mjs', '.cjs']) {
    const file = base + extension;
    if (!isFile(file)) continue;
    return { file, esm: extension === '.mjs' || (extension === '.js' && isModulePackage(file, packageRoot)) };
  }
  return null;
}

/** Whether the nearest package.json says `"type": "module"`. */
function isModulePackage(file, root) {
  for (let directory = path.dirname(file); ; directory = path.dirname(directory)) {
    try {
      return JSON.parse(fs.readFileSync(path.join(directory, 'package.json'), 'utf8')).type === 'module';
    } catch (error) {
      if (error.code !== 'ENOENT') return false;
    }
    if (directory === root || directory === path.dirname(directory)) return false;
  }
}

async function loadHandler(root, name) {
  if (name.includes('..')) {
    throw new Fault('Runtime.MalformedHandlerName', `'${name}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`);
  }
  const base = path.basename(name);
  const directory = name.slice(0, name.length - base.length);
  const split = /^([^.]*)\.(.*)$/.exec(base);
  if (!split) throw new Fault('Runtime.MalformedHandlerName', 'Bad handler');
  const [, moduleName, exportPath] = split;
  const module = await loadModule(root, directory, moduleName);
  const handler = exportPath.split('.').reduce((object, key) => (object == null ? object : object[key]), module)
    ?? exportPath.split('.').reduce((object, key) => (object == null ? object : object[key]), module.default);
  if (handler == null) throw new Fault('Runtime.HandlerNotFound', `${name} is undefined or not exported`);
  if (typeof handler !== 'function') throw new Fault('Runtime.HandlerNotFound', `${name} is not a function`);
  return handler;
}

async function loadModule(root, directory, name) {
  try {
    const found = findModule(path.resolve(root, directory, name), root);
    if (found && found.esm) return await import(require('url').pathToFileURL(found.file));
    if (found) return require(found.file);
    return require(require.resolve(name, { paths: [root, path.resolve(root, directory)] }));
  } catch (error) {
    if (error instanceof SyntaxError) throw renamed(error, 'Runtime.UserCodeSyntaxError');
    if (error && (error.code === 'MODULE_NOT_FOUND' || error.code === 'ERR_MODULE_NOT_FOUND')) {
      throw renamed(error, 'Runtime.ImportModuleError');
    }
    throw error;
  }
}

function renamed(error, name) {
  const fault = new Fault(name, error.toString());
  fault.stack = `${name}: ${error.stack}`;
  return fault;
}

function contextOf(headers, done) {
  const deadline = Number(headers['lambda-runtime-deadline-ms']);
  const json = (name) => (headers[name] ? JSON.parse(headers[name]) : undefined);
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    clientContext: json('lambda-runtime-client-context'),
    identity: json('lambda-runtime-cognito-identity'),
    invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
    awsRequestId: headers['lambda-runtime-aws-request-id'],
    tenantId: headers['lambda-runtime-aws-tenant-id'],
    getRemainingTimeInMillis: () => Math.max(deadline - Date.now(), 0),
    done,
    succeed: (value) => done(null, value),
    fail: (error) => done(error ?? 'handled'),
  };
}

/** What to do when nothing is left to do while a handler has not answered. */
let onEmptyLoop = null;
process.on('beforeExit', () => onEmptyLoop && onEmptyLoop());

/** Runs the handler on one event: resolves to its value, rejects with what it threw. */
function run(handler, event, headers) {
  return new Promise((resolve, reject) => {
    const settle = (error, value) => {
      onEmptyLoop = null;
      if (error !== undefined && error !== null) reject(error);
      else resolve(value);
    };
    const context = contextOf(headers, settle);
    // A callback's answer waits until nothing is left to do, unless told otherwise.
    const callback = (error, value) => {
      const failed = error !== undefined && error !== null;
      if (failed || !context.callbackWaitsForEmptyEventLoop) settle(error, value);
      else onEmptyLoop = () => settle(null, value);
    };
    // A handler that leaves nothing to wait for and has not answered answers null.
    onEmptyLoop = () => settle(null, null);
    try {
      const result = handler(event, context, callback);
      if (result && typeof result.then === 'function') {
        result.then((value) => settle(null, value), (error) => settle(error ?? 'handled'));
      }
    } catch (error) {
      settle(error ?? 'handled');
    }
  });
}

function encode(value) {
  try {
    return JSON.stringify(value === undefined ? null : value) ?? 'null';
  } catch {
    throw new Error('Unable to stringify response body');
  }
}

// --- response streams (awslambda.streamifyResponse) --------------------------

const STREAMING = Symbol('streaming');
const HIGH_WATER_MARK = Symbol('high water mark');

/** Runs a handler that writes its answer, which goes to `begin`'s stream as it is written; the status of that. */
async function runStreaming(handler, event, headers, begin) {
  const { Writable } = require('stream');
  const { finished } = require('stream/promises');
  let out = null;
  let failed = false;
  // The head waits for the first write, so that the type can still be set.
  const begun = (stream) => (out ??= begin(stream.contentType || 'application/octet-stream'));
  const stream = new Writable({
    highWaterMark: handler[HIGH_WATER_MARK],
    write(chunk, _encoding, done) {
      // What a handler writes after it failed is lost; between two answers it would be taken for one.
      if (failed || chunk.length === 0) done();
      else begun(this).write(chunk, done);
    },
  });
  stream.setContentType = (type) => (stream.contentType = type);
  stream.on('error', () => {});
  const ended = finished(stream);
  ended.catch(() => {});
  try {
    await Promise.all([handler(event, stream, contextOf(headers, () => {})), ended]);
  } catch (error) {
    if (!out) {
      failed = true;
      throw error;
    }
    const report = errorBody(error);
    logInvokeError('Invoke Error', report);
    // What was written before goes before: the client has a part of it, and learns the rest from the trailers.
    stream.end();
    await ended.catch(() => {});
    return out.end(report);
  }
  return begun(stream).end();
}

Object.defineProperty(globalThis, 'rekindle', {
  configurable: true,
  enumerable: false,
  get: () => require('./rekindle.js'),
});

globalThis.awslambda = {
  streamifyResponse: (handler, options) => {
    if (typeof options?.highWaterMark === 'number') handler[HIGH_WATER_MARK] = Math.trunc(options.highWaterMark);
    return Object.assign(handler, { [STREAMING]: true });
  },
  HttpResponseStream: {
    /** Status, headers and cookies go before the body, parted from it by eight zeros. */
    from: (stream, metadata) => {
      stream.setContentType('application/vnd.awslambda.http-integration-response');
      stream.write(Buffer.concat([Buffer.from(JSON.stringify(metadata)), Buffer.alloc(8)]));
      return stream;
    },
  },
};

// --- life ------------------------------------------------------------------

/** Request id of an event that has no answer yet: a failure that nobody catches is its failure. */
let unanswered = null;
/** Whether a failure that nobody caught is about to end the process: no answer and no event after it. */
let dying = false;
/** Whether events are asked for: initialisation is over. */
let serving = false;
const never = () => new Promise(() => {});

async function handle(api, handler, { headers, body }) {
  const id = headers['lambda-runtime-aws-request-id'];
  const echo = headers['lambda-runtime-invocation-id'];
  currentRequestId = id;
  unanswered = id;
  const trace = headers['lambda-runtime-trace-id'];
  if (trace) env._X_AMZN_TRACE_ID = trace;
  else delete env._X_AMZN_TRACE_ID;
  let status;
  try {
    const event = JSON.parse(body.toString('utf8'));
    const to = `invocation/${id}/response`;
    if (handler[STREAMING]) {
      status = await runStreaming(handler, event, headers, (contentType) => api.stream(to, { echo, contentType }));
    } else {
      const answer = encode(await run(handler, event, headers));
      if (dying) await never();
      status = await api.post(to, answer, { echo });
    }
  } catch (error) {
    if (dying) await never();
    const report = errorBody(error);
    logInvokeError('Invoke Error', report);
    status = await api.post(`invocation/${id}/error`, JSON.stringify(report), { errorType: report.errorType, echo });
  }
  unanswered = null;
  // 413 is the function's own failure and is told to its caller; the loop goes on.
  if (status !== 202 && status !== 413) throw new Error(`the answer to ${id} was answered ${status}`);
}

function logInvokeError(what, report) {
  if (jsonLogs) logLine('ERROR', [{ ...report, stackTrace: report.trace, trace: undefined }]);
  else logLine('ERROR', [`${what} \t${JSON.stringify(report)}`]);
}

/** Where streams go that nobody reads. */
const NOWHERE = { write: (_data, done) => process.nextTick(done), end: async () => 202 };

/**
 * Runs the handler on the events of REKINDLE_WARM_UP, a JSON list: their answers go nowhere, their
 * failures to the log. What they load and compile is in the snapshot.
 */
async function warmUp(api, handler) {
  api.socket.unref(); // as between an event and its answer: an empty event loop can be seen
  const events = env.REKINDLE_WARM_UP ? JSON.parse(env.REKINDLE_WARM_UP) : [];
  for (const [at, event] of events.entries()) {
    currentRequestId = `warm-up-${at + 1}`;
    const headers = {
      'lambda-runtime-aws-request-id': currentRequestId,
      'lambda-runtime-deadline-ms': String(Date.now() + 10_000),
    };
    try {
      if (handler[STREAMING]) await runStreaming(handler, event, headers, () => NOWHERE);
      else encode(await run(handler, event, headers));
    } catch (error) {
      logInvokeError('Invoke Error', errorBody(error));
    }
  }
  currentRequestId = undefined;
}

/**
 * Goes twice through what lies around a handler: taking an event in, answering it, reading the answer to
 * that. What V8 compiles there is in the snapshot; otherwise the first event of every clone would wait for
 * it. The Runtime API refuses an answer to what it never asked, and nothing else comes of it.
 */
async function rehearse(api, handler) {
  const stage = {
    post: async (to, body, options) => {
      await api.post(to, body, options);
      return 202;
    },
    stream: (to, options) => {
      const { write, end } = api.stream(to, options);
      return { write, end: async () => (await end(), 202) };
    },
  };
  const streaming = Object.assign(async (_event, stream) => stream.end('x'), { [STREAMING]: true });
  const understudy = handler[STREAMING] ? streaming : async () => null;
  const head = 'HTTP/1.1 200 OK\r\nlambda-runtime-aws-request-id: rehearsal\r\n'
    + 'lambda-runtime-invocation-id: rehearsal\r\nlambda-runtime-trace-id: none\r\n'
    + 'lambda-runtime-deadline-ms: 0\r\ncontent-length: 2\r\n\r\n{}';
  for (let round = 0; round < 2; round += 1) await handle(stage, understudy, parseAnswer(Buffer.from(head)));
  currentRequestId = undefined;
  delete env._X_AMZN_TRACE_ID;
}

/** Whether a snapshot is still to come: a module may have had it taken while it was loaded. */
function snapshotToCome() {
  try {
    return fs.readFileSync('/proc/rekindle/snapshot', 'utf8').trim() === 'none';
  } catch {
    return false;
  }
}

/**
 * Nobody caught this: answer the running event (or init) with it, then end. Between two events the log alone tells of it:
 * it is no failure of the event before, which has its answer, nor of the next, which a fresh instance gets.
 */
function die(api, error, code, name) {
  if (dying) return undefined;
  dying = true;
  const report = errorBody(error);
  if (name) {
    report.errorMessage = error instanceof Error ? error.toString() : String(error);
    report.errorType = name;
  }
  logInvokeError('Uncaught Exception', report);
  const gone = () => process.exit(code);
  if (api.streaming) return api.streaming.end(report).then(gone, gone);
  if (serving && !unanswered) return gone();
  const at = unanswered ? `invocation/${unanswered}/error` : 'init/error';
  const options = { errorType: report.errorType };
  // A connection of its own: the other may be in the middle of an answer.
  const last = new Api(env.AWS_LAMBDA_RUNTIME_API);
  last.post(at, JSON.stringify(report), options).then(gone, gone);
}

async function main() {
  patchConsole();
  // Connecting before the function is loaded tells the platform that the runtime is up.
  const api = new Api(env.AWS_LAMBDA_RUNTIME_API);
  process.on('uncaughtException', (error) => die(api, error, 129));
  process.on('unhandledRejection', (error) => die(api, error, 128, 'Runtime.UnhandledPromiseRejection'));
  await api.connected();
  const initialization = env.AWS_LAMBDA_INITIALIZATION_TYPE;
  const captured = initialization === 'snap-start' || initialization === 'template';
  const restore = captured ? require('./restore.js') : null;
  const capturable = captured && restore.prepare();
  if (initialization === 'template') {
    if (!capturable) process.exit(1);
    await require('./template.js').becomeAFunction(api);
    patchConsole();
  }
  let handler;
  try {
    handler = await loadHandler(env.LAMBDA_TASK_ROOT || '/var/task', env._HANDLER || '');
  } catch (error) {
    const report = errorBody(error);
    logInvokeError('Uncaught Exception', report);
    await api.post('init/error', JSON.stringify(report), { errorType: report.errorType });
    process.exit(1);
  }
  if (captured) await warmUp(api, handler);
  if (capturable) {
    if (snapshotToCome()) await rehearse(api, handler);
    try {
      await restore.passThroughSnapshot(api);
    } catch (error) {
      if (!(error instanceof restore.HookFailed)) throw error;
      const report = errorBody(error.cause);
      logInvokeError('Uncaught Exception', report);
      await api.post(error.at, JSON.stringify(report), { errorType: error.errorType });
      process.exit(error.status);
    }
  }
  serving = true;
  for (;;) {
    if (dying) await never();
    await handle(api, handler, await api.next());
  }
}

main();
