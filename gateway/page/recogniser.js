// A tape's way to /v1/realtime and its text back, over as many connections as that takes.
//
//    tape: |-- settled ------------|-- sent, not answered --|-- not sent --|
//                                  #settled                 #cursor        end
//
// What has been recognised is settled and leaves the tape. A new connection begins where that ends, so nothing that was
// said is lost as long as the tape holds it, and no text comes twice. Positions are samples of the tape; a connection
// counts its times from #base, where it began.

import { RATE } from "./tape.js";
import * as wire from "./wire.js";

const MESSAGE_SAMPLES = RATE / 2; // at most, in one message
const AHEAD_BYTES = 256 * 1024; // that the socket may hold back before no more is given to it
const PUMP_MS = 30; // until it is looked at again
const GREETING_MS = 10000; // for a connection to be ready
const PULSE_MS = 5000; // between two questions whether the other side is still there
const SILENT_MS = 30000; // without a word from it, though it was asked: the connection is dead
const QUIET_SAMPLES = 5 * RATE; // that are kept where nobody speaks: a beginning may not have been told yet
const RETRIES_MS = [500, 1000, 2000, 4000, 8000, 10000];
const BUSY_MS = 3000;

export class Recogniser {
  #tape;
  #settings;
  #key;
  #open;
  #access;
  #listener;
  #socket = null;
  #isReady = false; // the connection is, for audio
  #isFinishing = false; // all has been sent, and the other side knows
  #base = 0;
  #cursor = 0;
  #settled = 0;
  #pulses = []; // what had been heard for certain at each question that has no answer yet
  #reached = { position: 0, at_ms: 0 }; // what the server had come to, and when that was known
  #openItems = new Set(); // that are not completed
  #isSpoken = false; // somebody speaks, whether or not an item is known
  #failures = 0; // in a row
  #timers = new Map();

  /**
   * tape: see tape.js; `pump` has to be called when it has grown.
   * settings: { language }.
   * key: for the gateway, "" for none.
   * open(key): a WebSocket; raises where the key cannot be sent.
   * access(key): a promise of "open", "key" (it is missing or wrong), "closed" (no such door) or "unreachable".
   * listener: called back, times in seconds from the tape's beginning:
   *   onState({ name, … })  connecting, listening, finishing, waiting { why, until_ms }, key { isWrong },
   *                         ended { why }: done, stopped, closed, key, or a message for people
   *   onOpen(item, start_s), onPartial(item, stable, unstable), onFinal(item, line), onDropped(item)
   *   onSettled(until_s), onLost(from_s, until_s)
   */
  constructor({ tape, settings, key, open, access, listener }) {
    this.#tape = tape;
    this.#settings = settings;
    this.#key = key;
    this.#open = open;
    this.#access = access;
    this.#listener = listener;
  }

  start() {
    this.#connect();
  }

  /** Send what the tape holds, as fast as the other side takes it. */
  pump() {
    if (!this.#isReady || this.#isFinishing) return;
    if (this.#cursor < this.#tape.start) {
      this.#retry("lost"); // slower than speech for so long that the tape has run over: begin anew with what is left
      return;
    }
    while (this.#cursor < this.#tape.end && this.#socket.bufferedAmount < AHEAD_BYTES) {
      const samples = this.#tape.read(this.#cursor, MESSAGE_SAMPLES);
      this.#socket.send(wire.audio(samples));
      this.#cursor += samples.length;
    }
    if (this.#cursor < this.#tape.end) this.#after("pump", PUMP_MS, () => this.pump());
    else if (this.#tape.isComplete) this.#finish();
  }

  /** From now on, another language. */
  configure(settings) {
    this.#settings = settings;
    if (this.#isReady && !this.#isFinishing) this.#ask();
  }

  /** Try with another key. */
  useKey(key) {
    this.#key = key;
    this.#connect();
  }

  /** Do not wait for the next attempt. */
  retryNow() {
    if (this.#timers.has("retry")) this.#connect();
  }

  /** Leave at once; what is not settled is given up. */
  stop(why = "stopped") {
    this.#disconnect();
    this.#listener.onState({ name: "ended", why });
  }

  // --- one connection

  #connect() {
    this.#disconnect();
    this.#listener.onState({ name: "connecting" });
    let socket;
    try {
      socket = this.#open(this.#key);
    } catch (error) {
      if (error.name !== "SyntaxError") throw error;
      this.#listener.onState({ name: "key", isWrong: true }); // characters that no subprotocol may have
      return;
    }
    this.#socket = socket;
    let hasOpened = false;
    socket.onopen = () => {
      hasOpened = true;
      socket.send(wire.settings(this.#settings));
    };
    socket.onmessage = ({ data }) => this.#received(wire.event(data));
    socket.onclose = ({ code }) => (hasOpened ? this.#closed(code) : this.#refused("unreachable"));
    this.#after("silence", GREETING_MS, () => this.#retry("unreachable"));
  }

  #begin() {
    if (this.#tape.start > this.#settled) {
      this.#listener.onLost(this.#settled / RATE, this.#tape.start / RATE);
      this.#settle(this.#tape.start);
    }
    this.#base = this.#cursor = this.#settled;
    this.#reach(0);
    this.#isReady = true;
    this.#cancel("silence");
    this.#listener.onState({ name: "listening" });
    this.#after("pulse", PULSE_MS, () => this.#pulse());
    this.pump();
  }

  #finish() {
    this.#isFinishing = true;
    this.#cancel("pulse");
    this.#socket.send(wire.DONE);
    this.#expectAnswer();
    this.#listener.onState({ name: "finishing" });
  }

  #disconnect() {
    for (const name of [...this.#timers.keys()]) this.#cancel(name);
    for (const item of this.#openItems) this.#listener.onDropped(item);
    this.#openItems.clear();
    this.#pulses = [];
    this.#isReady = this.#isFinishing = this.#isSpoken = false;
    if (this.#socket === null) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  // --- what it says

  #received(event) {
    if (this.#timers.has("silence") && this.#isReady) this.#expectAnswer();
    switch (event?.kind) {
      case "ready":
        if (this.#isReady) this.#answered();
        else this.#begin();
        break;
      case "started":
        this.#isSpoken = true;
        this.#opened(event);
        break;
      case "stopped":
        this.#isSpoken = false;
        break;
      case "partial":
        this.#opened(event);
        this.#listener.onPartial(event.item, event.stable, event.unstable);
        break;
      case "completed":
        this.#completed(event);
        break;
      case "error":
        this.stop(event.message); // what is asked for cannot be; asking again would not help
        break;
    }
  }

  #opened({ item, start_s }) {
    if (this.#openItems.has(item)) return;
    this.#reach(start_s);
    this.#openItems.add(item);
    this.#listener.onOpen(item, this.#seconds(start_s));
  }

  #completed(event) {
    this.#openItems.delete(event.item);
    this.#failures = 0;
    if (event.text === "") {
      this.#listener.onDropped(event.item);
    } else {
      const words = event.words.map((word) => ({
        word: word.word,
        start_s: this.#seconds(word.start_s),
        end_s: this.#seconds(word.end_s),
      }));
      const { text, language } = event;
      const times = { start_s: this.#seconds(event.start_s), end_s: this.#seconds(event.end_s) };
      this.#listener.onFinal(event.item, { ...times, text, language, words });
    }
    this.#reach(event.end_s);
    this.#settle(this.#reached.position);
  }

  #reach(connection_s) {
    this.#reached = { position: this.#base + Math.round(connection_s * RATE), at_ms: Date.now() };
  }

  #settle(until) {
    if (until <= this.#settled) return;
    this.#settled = Math.min(until, Math.max(this.#cursor, this.#tape.start));
    this.#tape.release(this.#settled);
    this.#listener.onSettled(this.#settled / RATE);
  }

  #seconds(connection_s) {
    return this.#base / RATE + connection_s;
  }

  // --- whether it is still there

  #pulse() {
    this.#ask();
    this.#after("pulse", PULSE_MS, () => this.#pulse());
    if (!this.#timers.has("silence")) this.#expectAnswer();
  }

  #expectAnswer() {
    this.#after("silence", SILENT_MS, () => this.#retry("lost"));
  }

  /** An answer says that the gateway is there, not how far behind it the server is: but that keeps up with speech. */
  #ask() {
    const { position, at_ms } = this.#reached;
    this.#pulses.push(Math.min(this.#cursor, position + Math.round(((Date.now() - at_ms) / 1000) * RATE)));
    this.#socket.send(wire.settings(this.#settings));
  }

  #answered() {
    this.#failures = 0;
    const taken = this.#pulses.shift();
    const isQuiet = !this.#isSpoken && this.#openItems.size === 0;
    if (taken !== undefined && isQuiet) this.#settle(taken - QUIET_SAMPLES);
    if (this.#pulses.length === 0 && !this.#isFinishing) this.#cancel("silence");
  }

  // --- its end

  #closed(code) {
    if (code === 1000 && this.#isFinishing) {
      this.#settle(this.#tape.end);
      this.stop("done");
    } else if (code === 1013) {
      this.#refused("busy");
    } else {
      this.#retry("lost");
    }
  }

  /** A browser does not say why a handshake has failed, nor a close whether all are busy or none is there. */
  async #refused(likely) {
    const socket = this.#socket;
    this.#isReady = false;
    const access = await this.#access(this.#key);
    if (this.#socket !== socket) return; // something else has been begun meanwhile
    if (access === "key") {
      this.#disconnect();
      this.#listener.onState({ name: "key", isWrong: this.#key !== "" });
    } else if (access === "closed") {
      this.stop("closed");
    } else {
      this.#retry(access === "open" ? likely : "unreachable");
    }
  }

  #retry(why) {
    this.#disconnect();
    const delay_ms = why === "busy" ? BUSY_MS : RETRIES_MS[Math.min(this.#failures, RETRIES_MS.length - 1)];
    this.#failures += 1;
    this.#listener.onState({ name: "waiting", why, until_ms: Date.now() + delay_ms });
    this.#after("retry", delay_ms, () => this.#connect());
  }

  // --- timers, by name

  #after(name, delay_ms, act) {
    this.#cancel(name);
    const timer = setTimeout(() => {
      this.#timers.delete(name);
      act();
    }, delay_ms);
    this.#timers.set(name, timer);
  }

  #cancel(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }
}
