import assert from "node:assert/strict";
import { test } from "node:test";

import { cues, FORMATS } from "../../gateway/page/downloads.js";

const LINES = [
  { start_s: 0.5, end_s: 2.25, text: "안녕하세요", words: [] },
  { start_s: 3661.2, end_s: 3663.9996, text: "a < b & c", words: [] },
];

test("text is a line for each result", () => {
  assert.equal(FORMATS.txt.write(LINES), "안녕하세요\na < b & c\n");
});

test("SubRip", () => {
  const cues = ["1\n00:00:00,500 --> 00:00:02,250\n안녕하세요\n", "2\n01:01:01,200 --> 01:01:04,000\na ‹ b & c\n"];
  assert.equal(FORMATS.srt.write(LINES), cues.join("\n"));
});

test("WebVTT", () => {
  const cues = ["00:00:00.500 --> 00:00:02.250\n안녕하세요\n", "01:01:01.200 --> 01:01:04.000\na &lt; b &amp; c\n"];
  assert.equal(FORMATS.vtt.write(LINES), ["WEBVTT\n", ...cues].join("\n"));
});

test("a long result is cut between words into cues that can be read, and loses none", () => {
  const said = Array.from({ length: 60 }, (_, i) => ({ word: `낱말${i}`, start_s: i / 3, end_s: (i + 1) / 3 }));
  const line = { start_s: 0, end_s: 20, text: said.map(({ word }) => word).join(" "), words: said };
  const cut = cues(line);
  assert.equal(cut.flatMap((cue) => cue.lines).join(" "), line.text);
  for (const cue of cut) {
    assert.ok(cue.end_s - cue.start_s <= 7 && cue.end_s > cue.start_s);
    assert.ok(cue.lines.length <= 2);
  }
  assert.deepEqual([cut[0].start_s, cut.at(-1).end_s], [0, 20]);
});

test("a result without times of words is cut too", () => {
  const text = Array.from({ length: 40 }, (_, i) => `word${i}`).join(" ");
  const cut = cues({ start_s: 10, end_s: 22, text, words: [] });
  assert.equal(cut.flatMap((cue) => cue.lines).join(" "), text);
  assert.ok(cut.length > 1 && cut.every((cue, i) => i === 0 || cue.start_s >= cut[i - 1].start_s));
});
