import assert from "node:assert/strict";
import { test } from "node:test";

import { Resampler } from "../../gateway/page/resampler.js";

const TO = 24000;

function tone(rate, hz) {
  return Float32Array.from({ length: rate }, (_, i) => Math.sin((2 * Math.PI * hz * i) / rate));
}

function resampled(samples, from, sizes) {
  const resampler = new Resampler(from, TO);
  const output = [];
  for (let at = 0, i = 0; at < samples.length; at += sizes[i % sizes.length], i++) {
    output.push(...resampler.process(samples.slice(at, at + sizes[i % sizes.length])));
  }
  return [...output, ...resampler.flush()];
}

/** Decibels of `samples` against a full tone, without both ends. */
function power_db(samples) {
  const middle = samples.slice(2000, -2000);
  return 10 * Math.log10((2 * middle.reduce((sum, sample) => sum + sample * sample, 0)) / middle.length + 1e-20);
}

for (const from of [8000, 16000, 44100, 48000, 96000]) {
  test(`a voice at ${from} Hz is what it was, at its time`, () => {
    const output = resampled(tone(from, 440), from, [128]);
    assert.ok(Math.abs(output.length - TO) <= 2, `${output.length} samples`);
    const wanted = tone(TO, 440);
    const error_db = power_db(output.slice(0, TO - 2).map((sample, i) => sample - wanted[i]));
    assert.ok(error_db < -60, `${error_db} dB`);
  });
}

test("what the lower rate cannot carry is gone instead of folded back", () => {
  assert.ok(power_db(resampled(tone(48000, 16000), 48000, [128])) < -70);
});

test("the sizes of the blocks change nothing", () => {
  const samples = tone(44100, 300);
  assert.deepEqual(resampled(samples, 44100, [128]), resampled(samples, 44100, [1, 700, 64, 5000]));
});
