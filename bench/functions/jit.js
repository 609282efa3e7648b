'use strict';
// Two workloads of FaaSdom: the factors of a number, and the product of two square matrices.
// Before a snapshot V8's optimising compiler is asked for them; where none is taken it is left to itself.

/** How many numbers divide it. */
function fact(number) {
  let found = 0;
  const last = Math.floor(Math.sqrt(number));
  for (let candidate = 1; candidate <= last; candidate++) {
    if (number % candidate === 0) found += candidate * candidate === number ? 1 : 2;
  }
  return found;
}

function product(a, b, out, size) {
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      let total = 0;
      for (let k = 0; k < size; k++) total += a[i][k] * b[k][j];
      out[i][j] = total;
    }
  }
}

function rows(size, value) {
  return Array.from({ length: size }, (_, i) => Array.from({ length: size }, (_, j) => value(i, j)));
}

function matrixMult(size) {
  const a = rows(size, (i, j) => ((i * size + j) % 10) + 0.5);
  const out = rows(size, () => 0.5);
  product(a, a, out, size);
  return out[0][0] + out[size - 1][size - 1];
}

let compiled = 'as V8 likes';
if (process.env.BENCH_OPTIMIZE) {
  const { optimize } = require('rekindle');
  const { work, size } = JSON.parse(process.env.BENCH_OPTIMIZE);
  // A second time where what V8 learned meanwhile made it throw the first code away.
  const sure = (...what) => optimize(...what) || optimize(...what);
  const halves = () => rows(size, () => 0.5);
  const done = work === 'fact' ? [sure(fact, size)] : [sure(product, halves(), halves(), halves(), size), sure(matrixMult, size)];
  compiled = done.every(Boolean) ? 'optimised before' : 'not optimised';
}

exports.handler = async (event) => {
  const work = event.work === 'fact' ? fact : matrixMult;
  const started = process.hrtime.bigint();
  const result = work(event.size);
  return { ms: Number(process.hrtime.bigint() - started) / 1e6, result, compiled };
};
