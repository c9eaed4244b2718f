// One rate to another, block by block: the same samples come out whatever the sizes of the blocks.

const ZERO_CROSSINGS = 16; // of the windowed sinc, on each side
const PHASES = 256; // positions between two samples that the filter is tabulated for

/** Band-limited by a sinc under a Blackman window; holds back ZERO_CROSSINGS samples of the lower rate. */
export class Resampler {
  #from; // the rates in lowest terms: positions are whole numbers of 1 / #to input samples, so no error adds up
  #to;
  #reach; // input samples that the filter sees on each side
  #table; // (PHASES + 1) rows of 2 * reach weights
  #kept; // input that later output needs
  #position; // of the next output sample, in #kept

  constructor(fromRate, toRate) {
    const common = divisor(fromRate, toRate);
    this.#from = fromRate / common;
    this.#to = toRate / common;
    const stretch = Math.max(1, fromRate / toRate);
    this.#reach = Math.ceil(ZERO_CROSSINGS * stretch);
    this.#table = filters(this.#reach, stretch);
    this.#kept = new Float32Array(this.#reach - 1); // silence before the beginning
    this.#position = (this.#reach - 1) * this.#to;
  }

  /** The output that `block` completes, both Float32Arrays. */
  process(block) {
    const input = new Float32Array(this.#kept.length + block.length);
    input.set(this.#kept);
    input.set(block, this.#kept.length);
    const end = (input.length - this.#reach) * this.#to;
    const output = new Float32Array(Math.max(0, Math.ceil((end - this.#position) / this.#from)));
    for (let i = 0; i < output.length; i++) {
      output[i] = this.#at(input, this.#position);
      this.#position += this.#from;
    }
    const unneeded = Math.min(input.length, Math.floor(this.#position / this.#to) - this.#reach + 1);
    this.#position -= unneeded * this.#to;
    this.#kept = input.slice(unneeded);
    return output;
  }

  /** What is held back, with silence behind it. */
  flush() {
    return this.process(new Float32Array(this.#reach));
  }

  #at(input, position) {
    const whole = Math.floor(position / this.#to);
    const row = Math.round(((position % this.#to) / this.#to) * PHASES) * 2 * this.#reach;
    const first = whole - this.#reach + 1;
    let sum = 0;
    for (let i = 0; i < 2 * this.#reach; i++) sum += this.#table[row + i] * input[first + i];
    return sum;
  }
}

function divisor(one, other) {
  return other === 0 ? one : divisor(other, one % other);
}

function filters(reach, stretch) {
  const table = new Float32Array((PHASES + 1) * 2 * reach);
  for (let phase = 0; phase <= PHASES; phase++) {
    const row = table.subarray(phase * 2 * reach, (phase + 1) * 2 * reach);
    let sum = 0;
    for (let i = 0; i < row.length; i++) {
      const distance = i - reach + 1 - phase / PHASES;
      row[i] = sinc(distance / stretch) * blackman(distance / reach);
      sum += row[i];
    }
    for (let i = 0; i < row.length; i++) row[i] /= sum; // a constant stays what it is
  }
  return table;
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function blackman(x) {
  return Math.abs(x) >= 1 ? 0 : 0.42 + 0.5 * Math.cos(Math.PI * x) + 0.08 * Math.cos(2 * Math.PI * x);
}
