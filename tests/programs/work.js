// Buffers, strings and worker threads; what workers find is printed in their order, not in the order of their arrival.
'use strict';
const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads');
const crypto = require('node:crypto');
const zlib = require('node:zlib');

const digest = (data) => crypto.createHash('sha256').update(data).digest('hex').slice(0, 16);
const drawFrom = (seed) => () => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 1) % 65536;

function work(seed) {
  const draw = drawFrom(seed + 1);
  let kept = [];
  for (let i = 0; i < 3000; i++) {
    const buffer = Buffer.allocUnsafeSlow(draw() % (i % 50 ? 3000 : 200000)).fill(i & 255);
    kept.push(buffer);
    if (i % 3 === 0) kept.splice(draw() % kept.length, 2);
    if (kept.length > 300) kept = kept.slice(150);
  }
  const joined = Buffer.concat(kept);
  const packed = zlib.deflateSync(joined);
  if (!zlib.inflateSync(packed).equals(joined)) throw new Error('not the same');
  const map = new Map();
  for (let i = 0; i < 20000; i++) map.set(`k${draw()}`, { i, text: 'v'.repeat(i % 40) });
  const array = new Float64Array(50000).map(() => draw()).sort();
  return `${digest(joined)} ${digest(JSON.stringify([...map]))} ${digest(Buffer.from(array.buffer))}`;
}

if (isMainThread) {
  const results = [];
  let running = 5;
  console.log('main', work(0));
  for (let n = 1; n <= running; n++) {
    const worker = new Worker(__filename, { workerData: n });
    worker.on('message', (value) => { results[n] = value; });
    worker.on('error', (error) => { throw error; });
    worker.on('exit', (code) => {
      if (code) throw new Error(`worker ${n}: ${code}`);
      if (--running === 0) results.forEach((value, at) => console.log('worker', at, value));
    });
  }
} else {
  parentPort.postMessage(work(workerData));
}
