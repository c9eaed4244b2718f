import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

import { clock, text, TEXTS } from "../../gateway/page/texts.js";

const FOLDER = new URL("../../gateway/page/", import.meta.url);
const SOURCES = readdirSync(FOLDER)
  .filter((name) => /\.(js|html)$/.test(name) && name !== "texts.js")
  .map((name) => readFileSync(new URL(name, FOLDER), "utf8"))
  .join("\n");

const values = (phrase) => [...phrase.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort();

test("both languages have the same texts with the same values", () => {
  assert.deepEqual(Object.keys(TEXTS.ko), Object.keys(TEXTS.en));
  for (const [name, phrase] of Object.entries(TEXTS.en)) assert.deepEqual(values(TEXTS.ko[name]), values(phrase), name);
});

test("every text of index.html is there", () => {
  const asked = [...SOURCES.matchAll(/data-(?:text|label)="(\w+)"/g)].map(([, name]) => name);
  assert.ok(asked.length > 20);
  for (const name of asked) assert.ok(name in TEXTS.en, name);
});

test("no text is there that nobody says", () => {
  for (const name of Object.keys(TEXTS.en)) {
    const stem = name.replace(/File$/, ""); // with a file, what is said of a microphone gets this ending
    assert.match(SOURCES, new RegExp(`["\`](${name}|${stem})["\`]`), name);
  }
});

test("values are filled in, and times are short", () => {
  assert.equal(text("en", "countdown", { seconds: 3 }), "Next attempt in 3 s");
  assert.deepEqual([0, 59.9, 60, 3723].map(clock), ["0:00", "0:59", "1:00", "1:02:03"]);
});
