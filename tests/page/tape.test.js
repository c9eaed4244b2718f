import assert from "node:assert/strict";
import { test } from "node:test";

import { FileTape, MicrophoneTape, RATE, toInt16 } from "../../gateway/page/tape.js";

function counted(from, count) {
  return Int16Array.from({ length: count }, (_, i) => (from + i) % 30000);
}

/** All of a tape from `from` on, in the pieces that it gives. */
function whole(tape, from) {
  const samples = [];
  while (from + samples.length < tape.end) samples.push(...tape.read(from + samples.length, 700));
  return samples;
}

test("a tape gives back what was said, also where it has come round", () => {
  const tape = new MicrophoneTape(1);
  for (let said = 0; said < 3 * RATE; said += 960) tape.push(counted(said, 960));
  assert.equal(tape.end, 3 * RATE);
  assert.equal(tape.start, 2 * RATE);
  assert.deepEqual(whole(tape, tape.start), [...counted(2 * RATE, RATE)]);
});

test("a tape begins behind what was released, and never goes back", () => {
  const tape = new MicrophoneTape(1);
  tape.push(counted(0, 1000));
  tape.release(600);
  tape.release(200);
  assert.equal(tape.start, 600);
});

test("the channels of a file are mixed, and what is too loud is clipped", () => {
  const tape = new FileTape([new Float32Array([0.5, 1, -1]), new Float32Array([0, 1, -1])]);
  assert.deepEqual([...tape.read(0, 10)], [8192, 32767, -32768]);
  assert.deepEqual([...tape.read(1, 1)], [32767]);
  assert.equal(toInt16(Number.MAX_VALUE), 32767);
});
