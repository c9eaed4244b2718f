// What was said, by position: samples from the beginning, so that it can be sent again from anywhere.
//
// A tape has `start` (the oldest sample that is still there), `end`, `isComplete` (nothing will be added),
// `read(from, most)` and `release(until)`: what comes before is not needed any more.

export const RATE = 24000; // samples a second: what /v1/realtime takes

/** What a microphone hears; holds the last `limit_s` seconds, whatever happens. */
export class MicrophoneTape {
  #ring;
  #released = 0;

  constructor(limit_s) {
    this.#ring = new Int16Array(Math.round(limit_s * RATE));
    this.end = 0;
    this.isComplete = false;
  }

  get start() {
    return Math.max(this.#released, this.end - this.#ring.length);
  }

  /** Add an Int16Array that is no longer than the tape. */
  push(samples) {
    const at = this.end % this.#ring.length;
    const fitting = Math.min(samples.length, this.#ring.length - at);
    this.#ring.set(samples.subarray(0, fitting), at);
    this.#ring.set(samples.subarray(fitting), 0);
    this.end += samples.length;
  }

  /** At most `most` samples from `from` on, which is not before `start`; fewer are no sign of the end. */
  read(from, most) {
    const at = from % this.#ring.length;
    return this.#ring.slice(at, Math.min(at + Math.min(most, this.end - from), this.#ring.length));
  }

  release(until) {
    this.#released = Math.max(this.#released, until);
  }
}

/** A file that has been decoded: `channels` are Float32Arrays of one length, at RATE. */
export class FileTape {
  #channels;

  constructor(channels) {
    this.#channels = channels;
    this.start = 0;
    this.end = channels[0].length;
    this.isComplete = true;
  }

  /** At most `most` samples from `from` on, all channels mixed. */
  read(from, most) {
    const mixed = new Int16Array(Math.min(most, this.end - from));
    for (let i = 0; i < mixed.length; i++) {
      let sum = 0;
      for (const channel of this.#channels) sum += channel[from + i];
      mixed[i] = toInt16(sum / this.#channels.length);
    }
    return mixed;
  }

  release() {}
}

/** A sample from -1 to 1 as 16 bits; what is louder is clipped. */
export function toInt16(sample) {
  return Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
}
