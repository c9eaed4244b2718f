// Files through `openai` of npm: URL KEY FILE.

import { createReadStream } from "node:fs";
import OpenAI, { toFile } from "openai";

const [url, key, path] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: key });

const shown = (name, value) => console.log(JSON.stringify({ name, value }));
const transcribed = (options) => client.audio.transcriptions.create({ file: createReadStream(path), ...options });

shown("json", (await transcribed({ model: "gpt-4o-transcribe" })).text);
for (const kind of ["text", "srt", "vtt"]) {
  shown(kind, await transcribed({ model: "whisper-1", response_format: kind }));
}
const verbose = await transcribed({
  model: "whisper-1",
  response_format: "verbose_json",
  timestamp_granularities: ["word", "segment"],
});
shown("words", verbose.words.map(({ word, start, end }) => [word, start, end]));
shown("segments", verbose.segments.map(({ id, text, start, end }) => [id, text, start, end]));
const events = [];
for await (const event of await transcribed({ model: "gpt-4o-mini-transcribe", stream: true })) {
  events.push(event);
}
shown("stream", events);
const translated = await client.audio.translations.create({ file: createReadStream(path), model: "whisper-1" });
shown("translation", translated);
shown("models", (await client.models.list()).data.map(({ id }) => id));
try {
  await client.audio.transcriptions.create({ file: await toFile(Buffer.from("no sound"), "words.txt"), model: "x" });
} catch (error) {
  shown("no sound", { status: error.status, param: error.param, message: error.message });
}
