// One recording, from a microphone or a file, until its last word is there.

import { access, openRealtime, storedKey, transcribe, UploadError } from "./gateway.js";
import { decoded } from "./media.js";
import { Microphone } from "./microphone.js";
import { Recogniser } from "./recogniser.js";
import { FileTape, MicrophoneTape, RATE } from "./tape.js";

const KEPT_S = 60; // of what was said and is not recognised yet
const MUTED_RMS = 1e-5; // less is no room, it is no microphone
const MUTED_S = 4;

/**
 * view: what is called back: state(state), settled(done_s, whole_s), level(rms), muted(isMuted), failed(name, values),
 *       open(item, start_s), partial(item, stable, unstable), final(item, line, latency_s), drop(item),
 *       gap(from_s, until_s); the states are the recogniser's, and asking, reading { name }, sending { name, part }.
 * offset_s: where its times begin.
 */
class Take {
  constructor(view, offset_s, language) {
    this.view = view;
    this.offset_s = offset_s;
    this.language = language;
    this.recogniser = null;
    this.isOver = false;
  }

  recognise(tape) {
    const { view, offset_s } = this;
    this.recogniser = new Recogniser({
      tape,
      settings: { language: this.language },
      key: storedKey(),
      open: openRealtime,
      access: (key) => access("realtime", key),
      listener: {
        onState: (state) => this.state(state),
        onOpen: (item, start_s) => view.open(item, offset_s + start_s),
        onPartial: view.partial,
        onFinal: (item, line) => view.final(item, shifted(line, offset_s), this.latency_s(line)),
        onDropped: view.drop,
        onSettled: (until_s) => this.settled(until_s),
        onLost: (from_s, until_s) => view.gap(offset_s + from_s, offset_s + until_s),
      },
    });
    this.recogniser.start();
  }

  state(state) {
    if (state.name === "ended") this.isOver = true;
    this.view.state(state);
  }

  settled() {}

  latency_s() {
    return null;
  }

  useLanguage(language) {
    this.language = language;
    this.recogniser?.configure({ language });
  }

  useKey(key) {
    this.recogniser.useKey(key);
  }

  retryNow() {
    this.recogniser?.retryNow();
  }

  /** End it at once; `why` as in the recogniser's state. */
  cancel(why = "stopped") {
    if (this.recogniser) this.recogniser.stop(why);
    else this.state({ name: "ended", why });
  }
}

export class MicrophoneTake extends Take {
  isFile = false;
  isFinished = false; // nothing more is listened to
  #tape = new MicrophoneTape(KEPT_S);
  #microphone = null;
  #heard_ms = 0; // when the tape's end was said
  #quiet_s = 0;

  /** Raises MicrophoneError. */
  async start() {
    this.state({ name: "asking" });
    const microphone = await Microphone.open(
      (samples, rms) => this.#heard(samples, rms),
      (error) => {
        this.view.failed(error.reason);
        this.finish();
      },
    );
    if (this.isOver) {
      await microphone.stop();
      return;
    }
    this.#microphone = microphone;
    this.recognise(this.#tape);
  }

  /** Listen no more; what was said is still recognised. */
  async finish() {
    this.isFinished = true;
    const microphone = this.#microphone;
    if (microphone === null) return;
    this.#microphone = null;
    await microphone.stop();
    this.view.level(0);
    this.#tape.isComplete = true;
    this.recogniser.pump();
  }

  cancel(why) {
    super.cancel(why);
    this.finish();
  }

  latency_s(line) {
    const said_ms = this.#heard_ms - (this.#tape.end / RATE - line.end_s) * 1000;
    return Math.max(0, performance.now() - said_ms) / 1000;
  }

  #heard(samples, rms) {
    this.#heard_ms = performance.now();
    this.#tape.push(samples);
    this.recogniser?.pump();
    this.view.level(rms);
    this.#quiet_s = rms < MUTED_RMS ? this.#quiet_s + samples.length / RATE : 0;
    this.view.muted(this.#quiet_s >= MUTED_S);
  }
}

export class FileTake extends Take {
  isFile = true;
  #file;
  #duration_s = 0;
  #upload = new AbortController();
  #keyGiven = null;

  constructor(view, offset_s, language, file) {
    super(view, offset_s, language);
    this.#file = file;
  }

  get name() {
    return this.#file.name;
  }

  async start() {
    this.state({ name: "reading" });
    const channels = await decoded(this.#file);
    if (this.isOver) return;
    if (channels === null) {
      await this.#send();
      return;
    }
    const tape = new FileTape(channels);
    this.#duration_s = tape.end / RATE;
    this.recognise(tape);
  }

  settled(until_s) {
    this.view.settled(until_s, this.#duration_s);
  }

  useKey(key) {
    if (this.recogniser) super.useKey(key);
    else this.#keyGiven(key);
  }

  cancel(why) {
    this.#upload.abort();
    super.cancel(why);
  }

  /** What the browser cannot read, or would need too much memory for, the gateway may. */
  async #send() {
    let key = storedKey();
    for (;;) {
      const open = await access("rest", key);
      if (this.isOver) return;
      if (open !== "key") break;
      key = await this.#askKey(key !== "");
    }
    try {
      this.state({ name: "sending", part: 0 });
      const onSent = (part) => this.isOver || this.state({ name: "sending", part });
      const asked = { language: this.language, key, onSent, signal: this.#upload.signal };
      const lines = await transcribe(this.#file, asked);
      for (const line of lines) this.view.final(null, shifted(line, this.offset_s), null);
      this.state({ name: "ended", why: "done" });
    } catch (error) {
      if (this.isOver) return;
      if (!(error instanceof UploadError)) throw error;
      if (error.status === 400) this.view.failed("undecodable", { name: this.name });
      else this.view.failed("uploadFailed", { name: this.name, message: error.message || "HTTP" });
      this.state({ name: "ended", why: "failed" });
    }
  }

  #askKey(isWrong) {
    this.state({ name: "key", isWrong });
    return new Promise((resolve) => {
      this.#keyGiven = resolve;
    });
  }
}

function shifted({ start_s, end_s, words, ...rest }, offset_s) {
  const shift = (timed) => ({ ...timed, start_s: timed.start_s + offset_s, end_s: timed.end_s + offset_s });
  return { ...shift({ start_s, end_s }), ...rest, words: words.map(shift) };
}
