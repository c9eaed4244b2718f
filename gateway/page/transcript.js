// What was said, as lines that only grow, and below them what is being said.

import { onLanguage, say, show } from "./interface.js";
import { clock } from "./texts.js";

const NEAR_END_PX = 96; // who is so near the end wants to see what comes
const BLOCK_LINES = 50; // are laid out together: a page of thousands costs no more than one of hundreds

export class Transcript {
  #root;
  #finals; // blocks of lines
  #partials;
  #latest;
  #open = new Map(); // item → its element below
  #follows = true;
  #top = 0; // of what is seen

  /** root: the section; `onChange()` is called when lines have come or gone. */
  constructor(root, latest, onChange) {
    this.lines = [];
    this.#root = root;
    this.#finals = root.querySelector("#finals");
    this.#partials = root.querySelector("#partials");
    this.#latest = latest;
    this.onChange = onChange;
    addEventListener("scroll", () => this.#scrolled(), { passive: true });
    new ResizeObserver(() => this.#follow()).observe(document.body);
    latest.addEventListener("click", () => {
      this.#follows = true;
      this.#latest.hidden = true;
      this.#follow();
    });
    onLanguage(() => this.#rewriteLatencies());
  }

  get isEmpty() {
    return !this.#finals.hasChildNodes() && this.#open.size === 0;
  }

  /** Where the next recording's times begin, so that they go on rising. */
  get end_s() {
    return Math.ceil(this.lines.at(-1)?.end_s ?? 0);
  }

  open(item, start_s) {
    const element = row(start_s);
    element.append(document.createElement("p"));
    element.className = "waiting";
    this.#open.set(item, element);
    this.#partials.append(element);
    this.#changed();
  }

  partial(item, stable, unstable) {
    const element = this.#open.get(item);
    const rest = document.createElement("i");
    rest.textContent = unstable;
    element.className = "";
    element.querySelector("p").replaceChildren(stable, stable && unstable ? " " : "", rest);
    this.#changed();
  }

  drop(item) {
    this.#open.get(item)?.remove();
    this.#open.delete(item);
    this.#changed();
  }

  /** line: { start_s, end_s, text, language, words }; latency_s: null where it means nothing. */
  final(item, line, latency_s) {
    this.drop(item);
    this.lines.push(line);
    const element = row(line.start_s);
    const said = document.createElement("p");
    said.textContent = line.text;
    if (line.language) said.lang = line.language;
    element.append(said);
    if (latency_s !== null) element.append(latency(latency_s));
    this.#append(element);
  }

  /** What was said between the two could not be kept. */
  gap(from_s, until_s) {
    const element = row(from_s);
    element.className = "gap";
    const why = document.createElement("p");
    show(why, "gap", { from: clock(from_s), until: clock(until_s) });
    element.append(why);
    this.#append(element);
  }

  clear() {
    this.lines = [];
    this.#finals.replaceChildren();
    this.#changed();
  }

  #append(element) {
    let block = this.#finals.lastElementChild;
    if (block === null || block.childElementCount === BLOCK_LINES) {
      block?.previousElementSibling?.classList.add("old");
      block = document.createElement("ol");
      this.#finals.append(block);
    }
    block.append(element);
    this.#changed();
  }

  #changed() {
    this.#root.hidden = this.isEmpty;
    this.onChange();
    if (!this.#follows) this.#latest.hidden = false;
  }

  /** Only who scrolls back wants to stay there: a page that grows scrolls nothing. */
  #scrolled() {
    const page = document.documentElement;
    const isNear = page.scrollHeight - page.scrollTop - page.clientHeight < NEAR_END_PX;
    if (isNear) this.#follows = true;
    else if (page.scrollTop < this.#top) this.#follows = false;
    this.#top = page.scrollTop;
    if (this.#follows) this.#latest.hidden = true;
  }

  #follow() {
    if (this.#follows) scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
  }

  #rewriteLatencies() {
    for (const element of this.#finals.querySelectorAll("small")) writeLatency(element);
  }
}

function row(start_s) {
  const element = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = clock(start_s);
  time.dateTime = `PT${start_s.toFixed(1)}S`;
  element.append(time);
  return element;
}

function latency(seconds) {
  const element = document.createElement("small");
  element.dataset.seconds = seconds.toFixed(1);
  element.ariaHidden = "true"; // what was said is read out without it
  writeLatency(element);
  return element;
}

function writeLatency(element) {
  element.textContent = say("latencyValue", { seconds: element.dataset.seconds });
  element.title = say("latency");
}
