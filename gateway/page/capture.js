// The audio thread's side of the microphone: blocks of 16-bit samples at RATE, and how loud each is.

import { Resampler } from "./resampler.js";
import { RATE, toInt16 } from "./tape.js";

const BLOCK = RATE / 25; // 40 ms

class Capture extends AudioWorkletProcessor {
  #resampler = sampleRate === RATE ? null : new Resampler(sampleRate, RATE);
  #block = new Int16Array(BLOCK);
  #filled = 0;
  #isStopped = false;

  constructor() {
    super();
    this.port.onmessage = () => this.#stop(); // the only message that there is
  }

  process([channels]) {
    if (this.#isStopped) return false;
    if (channels.length > 0) this.#add(this.#resampler ? this.#resampler.process(channels[0]) : channels[0]);
    return true;
  }

  #add(samples) {
    for (const sample of samples) {
      this.#block[this.#filled++] = toInt16(sample);
      if (this.#filled === BLOCK) this.#post();
    }
  }

  #post() {
    const samples = this.#block.slice(0, this.#filled);
    let squares = 0;
    for (const sample of samples) squares += sample * sample;
    const rms = Math.sqrt(squares / samples.length) / 32768;
    this.port.postMessage({ samples, rms }, [samples.buffer]);
    this.#filled = 0;
  }

  #stop() {
    if (this.#resampler) this.#add(this.#resampler.flush());
    if (this.#filled > 0) this.#post();
    this.#isStopped = true;
    this.port.postMessage({ isLast: true });
  }
}

registerProcessor("capture", Capture);
