// The language that the page itself is in: chosen, or else the browser's.

import { TEXTS, text } from "./texts.js";

const STORED = "interface";
const listeners = [];
let language = chosen();

/** A text in the page's language. */
export function say(name, values) {
  return text(language, name, values);
}

/** Show `name` in an element, now and after a change of language. */
export function show(element, name, values = {}) {
  element.dataset.text = name;
  element.dataset.values = JSON.stringify(values);
  element.textContent = say(name, values);
}

/** The same for the name that a screen reader says. */
export function label(element, name) {
  element.dataset.label = name;
  write(element);
}

export function hide(element) {
  delete element.dataset.text;
  element.textContent = "";
}

/** Bring the whole document into the page's language, and let `group`'s buttons change it. */
export function translate(group) {
  for (const button of group.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      language = button.value;
      localStorage.setItem(STORED, language);
      writeAll(group);
    });
  }
  writeAll(group);
}

/** Call `act` now and after each change of language. */
export function onLanguage(act) {
  listeners.push(act);
  act();
}

function writeAll(group) {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-text], [data-label]")) write(element);
  for (const button of group.querySelectorAll("button")) button.setAttribute("aria-pressed", button.value === language);
  for (const act of listeners) act();
}

function write(element) {
  const { text: name, label: labelName, values } = element.dataset;
  if (name) element.textContent = say(name, JSON.parse(values ?? "{}"));
  if (!labelName) return;
  element.setAttribute("aria-label", say(labelName));
  if (element.matches("button")) element.title = say(labelName);
}

function chosen() {
  const stored = localStorage.getItem(STORED);
  if (stored in TEXTS) return stored;
  const known = navigator.languages.map((code) => code.split("-")[0]).find((code) => code in TEXTS);
  return known ?? "en";
}
