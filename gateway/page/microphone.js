// The microphone, as blocks of 16-bit samples at RATE.

import { RATE } from "./tape.js";

const CAPTURE = new URL("capture.js", import.meta.url);
const LAST_BLOCK_MS = 500; // a stopped audio thread does not answer

/** Why there is no microphone; `reason` is one of insecure, refused, missing, taken, unsupported, unplugged. */
export class MicrophoneError extends Error {
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

const REASONS = {
  NotAllowedError: "refused",
  SecurityError: "refused",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
  NotReadableError: "taken",
  AbortError: "taken",
};

export class Microphone {
  #stream;
  #context;
  #node;

  /**
   * Ask for the microphone and listen; raises MicrophoneError.
   *
   * onBlock(samples, rms): 40 ms, and how loud they are, 0 to 1. onLost(error): it does not hear any more.
   */
  static async open(onBlock, onLost) {
    if (!window.isSecureContext) throw new MicrophoneError("insecure");
    if (!navigator.mediaDevices || !window.AudioWorkletNode) throw new MicrophoneError("unsupported");
    const microphone = new Microphone();
    try {
      await microphone.#open(onBlock, onLost);
    } catch (error) {
      microphone.#close();
      const reason = REASONS[error.name];
      throw reason ? new MicrophoneError(reason) : error;
    }
    return microphone;
  }

  /** Stop; everything that was heard has been handed to onBlock when this returns. */
  async stop() {
    await new Promise((resolve) => {
      this.#node.port.addEventListener("message", ({ data }) => data.isLast && resolve());
      this.#node.port.postMessage("stop");
      setTimeout(resolve, LAST_BLOCK_MS);
    });
    this.#close();
  }

  async #open(onBlock, onLost) {
    this.#stream = await navigator.mediaDevices.getUserMedia({
      // What is made for calls takes from speech what a recogniser could use.
      audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true },
    });
    const source = await this.#source();
    this.#node = new AudioWorkletNode(this.#context, "capture", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
    });
    this.#node.port.onmessage = ({ data }) => data.samples && onBlock(data.samples, data.rms);
    this.#stream.getAudioTracks()[0].onended = () => onLost(new MicrophoneError("unplugged"));
    source.connect(this.#node);
    await this.#context.resume();
  }

  /** Firefox connects a microphone only to a context of its own rate: there, the audio thread resamples. */
  async #source() {
    for (const options of [{ sampleRate: RATE }, {}]) {
      this.#context = new AudioContext(options);
      try {
        const source = this.#context.createMediaStreamSource(this.#stream);
        await this.#context.audioWorklet.addModule(CAPTURE);
        return source;
      } catch (error) {
        this.#context.close();
        this.#context = null;
        if (error.name !== "NotSupportedError" || !options.sampleRate) throw error;
      }
    }
  }

  #close() {
    for (const track of this.#stream?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
    this.#context?.close();
    this.#context = null;
  }
}
