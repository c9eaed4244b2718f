// The controls at the foot of the page: the button, the level, what goes on, what went wrong.

import { hide, label, say, show } from "./interface.js";
import { clock } from "./texts.js";

const COUNT_MS = 250;
const METER_MS = 250; // between two values for screen readers
const FLOOR_DB = -60; // of a quiet room; the level begins here

export class Dock {
  #root = document.querySelector("footer");
  #button = this.#root.querySelector("#main");
  #halo = this.#root.querySelector("#halo");
  #status = this.#root.querySelector("[role=status]");
  #countdown = this.#root.querySelector("#countdown");
  #alert = this.#root.querySelector("#alert");
  #progress = this.#root.querySelector("#progress");
  #counting = 0;
  #metered_ms = 0;

  /** Called for each press of the button. */
  onPress(act) {
    this.#button.addEventListener("click", act);
  }

  get action() {
    return this.#root.dataset.action;
  }

  /** What the button does next: start, stop or cancel. */
  set action(name) {
    this.#root.dataset.action = name;
    label(this.#button, name);
  }

  /** What goes on; "" for nothing. With `until_ms`, the time until then is counted down beside it. */
  status(name, values = {}, until_ms = null) {
    if (name === "") hide(this.#status);
    else if (this.#status.dataset.text !== name || this.#status.textContent !== say(name, values)) {
      show(this.#status, name, values);
    }
    clearInterval(this.#counting);
    hide(this.#countdown);
    if (until_ms === null) return;
    const count = () =>
      show(this.#countdown, "countdown", { seconds: Math.max(0, Math.ceil((until_ms - Date.now()) / 1000)) });
    this.#counting = setInterval(count, COUNT_MS);
    count();
  }

  /** What went wrong and what to do; "" for nothing. */
  alert(name, values = {}) {
    if (name === "") hide(this.#alert);
    else show(this.#alert, name, values);
  }

  /** How loud it is: the root of the mean square, 0 to 1. */
  level(rms) {
    const part = Math.max(0, Math.min(1, 1 - (20 * Math.log10(rms + 1e-9)) / FLOOR_DB));
    this.#halo.style.setProperty("--level", part.toFixed(3));
    if (performance.now() - this.#metered_ms < METER_MS && rms > 0) return;
    this.#metered_ms = performance.now();
    this.#halo.setAttribute("aria-valuenow", Math.round(part * 100));
  }

  /** How far a file is: done and whole in seconds; nothing where there is no file, no `whole_s` where it is unknown. */
  progress(done_s = null, whole_s = null) {
    this.#progress.hidden = done_s === null;
    const [bar, words] = this.#progress.children;
    if (whole_s === null) bar.removeAttribute("value");
    else bar.value = done_s / whole_s;
    words.textContent = whole_s === null ? "" : `${clock(done_s)} / ${clock(whole_s)}`;
  }
}
