// The page's way through lost connections, with sockets that do what a test says.

import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { Recogniser } from "../../gateway/page/recogniser.js";
import { MicrophoneTape, RATE } from "../../gateway/page/tape.js";

const TRANSCRIPTION = "conversation.item.input_audio_transcription.";

class Socket {
  bufferedAmount = 0;
  isClosed = false;
  sent = [];

  send(message) {
    this.sent.push(JSON.parse(message));
  }

  close() {
    this.isClosed = true;
  }

  says(type, fields = {}) {
    this.onmessage({ data: JSON.stringify({ type, ...fields }) });
  }

  opens() {
    this.onopen();
    this.says("session.created");
    this.says("session.updated");
  }

  completes(item, transcript, start_s, end_s) {
    const times = { start_ms: start_s * 1000, end_ms: end_s * 1000 };
    this.says(`${TRANSCRIPTION}completed`, { item_id: item, transcript, language: "en", words: [], ...times });
  }

  /** All audio that it was given, as samples. */
  get audio() {
    const appended = this.sent.filter(({ type }) => type === "input_audio_buffer.append");
    const bytes = Buffer.concat(appended.map(({ audio }) => Buffer.from(audio, "base64")));
    return [...new Int16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2)];
  }

  count(type) {
    return this.sent.filter((message) => message.type === type).length;
  }
}

/** A recogniser, what it was given and what it has told. */
class Bench {
  sockets = [];
  states = [];
  finals = [];
  opened = [];
  partials = [];
  dropped = [];
  lost = [];
  settled = 0;
  answer = "open";
  tape = new MicrophoneTape(60);
  said = 0;

  constructor(key = "") {
    this.recogniser = new Recogniser({
      tape: this.tape,
      settings: { language: "en" },
      key,
      open: (used) => {
        if (used.includes("/")) throw new DOMException("", "SyntaxError");
        const socket = new Socket();
        this.sockets.push(socket);
        return socket;
      },
      access: async () => this.answer,
      listener: {
        onState: (state) => this.states.push(state),
        onOpen: (item, start_s) => this.opened.push([item, start_s]),
        onPartial: (...partial) => this.partials.push(partial),
        onFinal: (item, line) => this.finals.push([line.text, line.start_s, line.end_s]),
        onDropped: (item) => this.dropped.push(item),
        onSettled: (until_s) => (this.settled = until_s),
        onLost: (...interval) => this.lost.push(interval),
      },
    });
    this.recogniser.start();
  }

  get socket() {
    return this.sockets.at(-1);
  }

  get state() {
    return this.states.at(-1);
  }

  /** Samples count up, so that each says where it is from. */
  say(seconds) {
    const count = Math.round(seconds * RATE);
    for (let done = 0; done < count; done += 960) {
      const samples = Int16Array.from({ length: Math.min(960, count - done) }, (_, i) => value(this.said + done + i));
      this.tape.push(samples);
      this.recogniser.pump();
    }
    this.said += count;
  }
}

function value(position) {
  return position % 30011;
}

function samples(from_s, until_s) {
  const [from, until] = [Math.round(from_s * RATE), Math.round(until_s * RATE)];
  return Array.from({ length: until - from }, (_, i) => value(from + i));
}

async function settle() {
  for (let i = 0; i < 10; i++) await null;
}

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
});

test("what is said before the connection is there is sent when it is", () => {
  const bench = new Bench();
  bench.say(2);
  bench.socket.opens();
  bench.say(1);
  assert.equal(bench.state.name, "listening");
  assert.deepEqual(bench.socket.audio, samples(0, 3));
});

test("text comes with its times, and what was recognised leaves the tape", () => {
  const bench = new Bench();
  bench.socket.opens();
  bench.say(4);
  bench.socket.says("input_audio_buffer.speech_started", { item_id: "a", audio_start_ms: 500 });
  const partial = { item_id: "a", stable: "Fail", unstable: "aga", start_ms: 500, end_ms: 900 };
  bench.socket.says(`${TRANSCRIPTION}partial`, partial);
  bench.socket.says("input_audio_buffer.speech_stopped", { item_id: "a", audio_end_ms: 2000 });
  bench.socket.completes("a", "Fail again.", 0.5, 2);
  assert.deepEqual(bench.opened, [["a", 0.5]]);
  assert.deepEqual(bench.partials, [["a", "Fail", "aga"]]);
  assert.deepEqual(bench.finals, [["Fail again.", 0.5, 2]]);
  assert.equal(bench.tape.start, 2 * RATE);
});

test("a connection that drops is followed by another that hears what was not recognised, and nothing twice", () => {
  const bench = new Bench();
  bench.socket.opens();
  bench.say(5);
  bench.socket.completes("a", "One.", 0.5, 2);
  bench.socket.says("input_audio_buffer.speech_started", { item_id: "b", audio_start_ms: 3000 });
  bench.socket.onclose({ code: 1006 });
  assert.deepEqual([bench.state.name, bench.state.why, bench.dropped], ["waiting", "lost", ["b"]]);
  bench.say(3);
  mock.timers.tick(500);
  bench.socket.opens();
  bench.say(1);
  assert.deepEqual(bench.socket.audio, samples(2, 9));
  bench.socket.completes("c", "Two.", 1, 4);
  assert.deepEqual(bench.finals, [["One.", 0.5, 2], ["Two.", 3, 6]]);
  assert.deepEqual(bench.lost, []);
  assert.equal(bench.sockets.length, 2);
});

test("what the tape could not hold is told, and times stay right", () => {
  const bench = new Bench();
  bench.socket.opens();
  bench.say(10);
  bench.socket.onclose({ code: 1012 });
  bench.say(65);
  bench.recogniser.retryNow();
  bench.socket.opens();
  assert.deepEqual(bench.lost, [[0, 15]]);
  assert.deepEqual(bench.socket.audio, samples(15, 75));
  bench.socket.completes("a", "Late.", 1, 2);
  assert.deepEqual(bench.finals, [["Late.", 16, 17]]);
});

test("attempts come less and less often, until text comes again", async () => {
  const bench = new Bench();
  const delays_ms = [];
  bench.answer = "unreachable";
  for (let i = 0; i < 7; i++) {
    bench.socket.onclose({ code: 1006 });
    await settle();
    delays_ms.push(bench.state.until_ms - Date.now());
    assert.equal(bench.state.why, "unreachable");
    mock.timers.tick(delays_ms.at(-1));
  }
  assert.deepEqual(delays_ms, [500, 1000, 2000, 4000, 8000, 10000, 10000]);
  bench.socket.opens();
  bench.say(2);
  bench.socket.completes("a", "Here.", 0, 1);
  bench.socket.onclose({ code: 1006 });
  assert.equal(bench.state.until_ms - Date.now(), 500);
});

test("a server that is busy is asked again, and hears all", async () => {
  const bench = new Bench();
  bench.socket.opens();
  bench.say(1);
  bench.socket.onclose({ code: 1013 });
  await settle();
  assert.deepEqual([bench.state.name, bench.state.why], ["waiting", "busy"]);
  bench.say(2);
  mock.timers.tick(3000);
  bench.socket.opens();
  assert.deepEqual(bench.socket.audio, samples(0, 3));
});

test("a close because no server is there is not called busy", async () => {
  const bench = new Bench();
  bench.socket.opens();
  bench.say(1);
  bench.answer = "unreachable";
  bench.socket.onclose({ code: 1013 });
  await settle();
  assert.equal(bench.state.why, "unreachable");
});

test("a key is asked for, and used", async () => {
  const bench = new Bench();
  bench.say(1);
  bench.answer = "key";
  bench.socket.onclose({ code: 1006 });
  await settle();
  assert.deepEqual(bench.state, { name: "key", isWrong: false });
  bench.recogniser.useKey("not/a/token");
  assert.deepEqual(bench.state, { name: "key", isWrong: true });
  bench.recogniser.useKey("right");
  bench.socket.opens();
  assert.deepEqual(bench.socket.audio, samples(0, 1));
});

test("a gateway without that door is not asked again", async () => {
  const bench = new Bench();
  bench.answer = "closed";
  bench.socket.onclose({ code: 1006 });
  await settle();
  assert.deepEqual(bench.state, { name: "ended", why: "closed" });
  mock.timers.tick(60000);
  assert.equal(bench.sockets.length, 1);
});

test("settings that cannot be end it with what the gateway says", () => {
  const bench = new Bench();
  bench.socket.onopen();
  bench.socket.says("error", { error: { code: null, message: "language: expected en" } });
  assert.deepEqual(bench.state, { name: "ended", why: "language: expected en" });
  assert.ok(bench.socket.isClosed);
});

test("at the end all is sent, and the end is when the last text has come", () => {
  const bench = new Bench();
  bench.socket.opens();
  bench.say(3);
  bench.tape.isComplete = true;
  bench.recogniser.pump();
  assert.equal(bench.state.name, "finishing");
  assert.equal(bench.socket.sent.at(-1).type, "input_audio_buffer.done");
  bench.socket.completes("a", "Last.", 0.5, 2.5);
  bench.socket.onclose({ code: 1000 });
  assert.deepEqual(bench.state, { name: "ended", why: "done" });
  assert.equal(bench.settled, 3);
});

test("a connection that drops at the end is made again for what is left", () => {
  const bench = new Bench();
  bench.socket.opens();
  bench.say(3);
  bench.tape.isComplete = true;
  bench.recogniser.pump();
  bench.socket.onclose({ code: 1006 });
  mock.timers.tick(500);
  bench.socket.opens();
  assert.deepEqual(bench.socket.audio, samples(0, 3));
  assert.equal(bench.state.name, "finishing");
});

test("a socket that holds back audio is given no more until it has sent that", () => {
  const bench = new Bench();
  bench.socket.opens();
  bench.say(1);
  bench.socket.bufferedAmount = 1e6;
  bench.say(1);
  assert.deepEqual(bench.socket.audio, samples(0, 1));
  bench.socket.bufferedAmount = 0;
  mock.timers.tick(30);
  assert.deepEqual(bench.socket.audio, samples(0, 2));
});

test("a connection that says nothing though it is asked is given up", () => {
  const bench = new Bench();
  bench.socket.opens();
  mock.timers.tick(5000);
  assert.equal(bench.socket.count("session.update"), 2);
  mock.timers.tick(29999);
  assert.equal(bench.state.name, "listening");
  mock.timers.tick(1);
  assert.deepEqual([bench.state.name, bench.state.why], ["waiting", "lost"]);
});

test("one that answers is kept, and what was quiet leaves the tape", () => {
  const bench = new Bench();
  bench.socket.opens();
  for (let i = 0; i < 20; i++) {
    bench.say(5);
    mock.timers.tick(5000);
    bench.socket.says("session.updated");
  }
  assert.equal(bench.sockets.length, 1);
  assert.equal(bench.tape.start, 95 * RATE);
});

test("what was sent faster than anybody speaks may be still to be heard, and is heard again", () => {
  const bench = new Bench();
  bench.say(50);
  bench.socket.opens();
  mock.timers.tick(5000);
  bench.socket.says("session.updated");
  bench.socket.completes("a", "One.", 8, 12);
  mock.timers.tick(5000);
  bench.socket.says("session.updated");
  bench.socket.onclose({ code: 1006 });
  mock.timers.tick(500);
  bench.socket.opens();
  assert.deepEqual(bench.socket.audio, samples(12, 50));
});

test("nothing leaves the tape while somebody speaks", () => {
  const bench = new Bench();
  bench.socket.opens();
  bench.say(9);
  bench.socket.says("input_audio_buffer.speech_started", { item_id: "a", audio_start_ms: 0 });
  bench.socket.completes("a", "One", 0, 1); // cut by its length: the next utterance goes on without a beginning
  mock.timers.tick(5000);
  bench.socket.says("session.updated");
  assert.equal(bench.tape.start, 1 * RATE);
});

test("a connection that is never ready is given up", () => {
  const bench = new Bench();
  bench.socket.onopen();
  mock.timers.tick(10000);
  assert.equal(bench.state.name, "waiting");
});

test("a recogniser that was stopped says nothing more", () => {
  const bench = new Bench();
  bench.socket.opens();
  bench.recogniser.stop();
  assert.deepEqual(bench.state, { name: "ended", why: "stopped" });
  bench.say(1);
  mock.timers.tick(100000);
  assert.deepEqual([bench.sockets.length, bench.states.length, bench.socket.isClosed], [1, 3, true]);
});
