// The page: one recording at a time, what is heard in it, and what can be done with that.

import { Dock } from "./dock.js";
import { FORMATS } from "./downloads.js";
import { storeKey } from "./gateway.js";
import { onLanguage, say, show, translate } from "./interface.js";
import { AUTO, LANGUAGES, likelyLanguage } from "./languages.js";
import { MicrophoneError } from "./microphone.js";
import { FileTake, MicrophoneTake } from "./take.js";
import { Transcript } from "./transcript.js";

const SPOKEN = "spoken"; // where the language that is spoken is stored

const find = (selector) => document.querySelector(selector);
const dock = new Dock();
const spoken = find("#spoken select");
const fileInput = find("#file input");
const keyDialog = find("#key");
const transcript = new Transcript(find("#transcript"), find("#latest"), lineChanged);
let take = null;
let wakeLock = null;

// --- one recording

const view = {
  open: (item, start_s) => transcript.open(item, start_s),
  partial: (item, stable, unstable) => transcript.partial(item, stable, unstable),
  final: (item, line, latency_s) => transcript.final(item, line, latency_s),
  drop: (item) => transcript.drop(item),
  gap: (from_s, until_s) => transcript.gap(from_s, until_s),
  level: (rms) => dock.level(rms),
  settled: (done_s, whole_s) => dock.progress(done_s, whole_s),
  failed: (name, values) => dock.alert(name, values),
  muted(isMuted) {
    if (isMuted !== (document.body.dataset.muted === "true") && document.body.dataset.state === "listening") {
      document.body.dataset.muted = isMuted;
      dock.status(isMuted ? "muted" : "listening");
    }
  },
  state: showState,
};

async function begin(next) {
  take = next;
  dock.alert("");
  lineChanged();
  try {
    await next.start();
  } catch (error) {
    if (next.isOver) return;
    next.cancel("failed");
    dock.alert(error instanceof MicrophoneError ? error.reason : "broken");
    if (!(error instanceof MicrophoneError)) throw error;
  }
}

function showState(state) {
  const { name } = state;
  document.body.dataset.state = name;
  document.body.dataset.muted = false;
  const values = take?.isFile ? { name: take.name } : {};
  const plainName = take?.isFile && name === "listening" ? "recognising" : name;
  switch (name) {
    case "waiting":
      dock.status(take.isFile ? `${state.why}File` : state.why, {}, state.until_ms);
      break;
    case "key":
      dock.status("");
      askKey(state.isWrong);
      break;
    case "ended":
      ended(state.why);
      return;
    default:
      dock.status(plainName, values);
  }
  if (name === "reading" || (name === "sending" && state.part === 1)) dock.progress(0);
  else if (name === "sending") dock.progress(state.part, 1);
  dock.action = take.isFile || take.isFinished || name === "asking" ? "cancel" : "stop";
  keepAwake(!take.isFile);
}

function ended(why) {
  take = null;
  dock.action = "start";
  dock.progress();
  dock.level(0);
  keepAwake(false);
  lineChanged();
  if (["done", "stopped"].includes(why)) {
    dock.status(why);
  } else {
    dock.status("");
    if (why === "closed" || why === "noKey") dock.alert(why);
    else if (why !== "failed") dock.alert("failed", { message: why });
  }
}

dock.action = "start";
dock.onPress(() => {
  if (dock.action === "start") {
    begin(new MicrophoneTake(view, transcript.end_s, spoken.value));
  } else if (dock.action === "stop") {
    dock.action = "cancel"; // what is left may take a while, without a connection for example
    take.finish();
  } else {
    take.cancel();
  }
});

addEventListener("online", () => take?.retryNow());
addEventListener("beforeunload", (event) => {
  if (take !== null) event.preventDefault();
});

/** A phone that falls asleep hears nothing. */
async function keepAwake(isWanted) {
  if (!isWanted) {
    const lock = wakeLock;
    wakeLock = null;
    await lock?.release();
  } else if (wakeLock === null && navigator.wakeLock && document.visibilityState === "visible") {
    try {
      wakeLock = await navigator.wakeLock.request("screen");
      wakeLock.onrelease = () => (wakeLock = null);
    } catch (error) {
      if (error.name !== "NotAllowedError") throw error; // its battery is low, say: it does without
    }
  }
}

// --- files

function open(file) {
  if (take !== null) dock.alert("onlyOne");
  else if (file) begin(new FileTake(view, transcript.end_s, spoken.value, file));
}

fileInput.addEventListener("change", () => {
  open(fileInput.files[0]);
  fileInput.value = ""; // the same file may be opened again
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.toggle("dropping", event.dataTransfer.types.includes("Files"));
});
addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("dropping");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  open(event.dataTransfer.files[0]);
});

// --- the key

function askKey(isWrong) {
  find("#key-wrong").hidden = !isWrong;
  if (!keyDialog.open) keyDialog.showModal();
}

keyDialog.querySelector("button[type=button]").addEventListener("click", () => keyDialog.close(""));
keyDialog.addEventListener("close", () => {
  const input = keyDialog.querySelector("input");
  const key = input.value.trim();
  input.value = "";
  if (keyDialog.returnValue === "use" && key !== "") {
    storeKey(key);
    take?.useKey(key);
  } else {
    take?.cancel("noKey");
  }
  keyDialog.returnValue = "";
});

// --- what was said

find("[data-save=copy]").hidden = !navigator.clipboard; // only secure pages have one

function lineChanged() {
  find("#welcome").hidden = !transcript.isEmpty || take?.isFile === true;
  show(find("#welcome h2"), take === null ? "welcome" : "speak");
  find("#welcome div").hidden = take !== null;
  fileInput.disabled = take !== null;
  for (const button of document.querySelectorAll("#tools button")) button.disabled = transcript.lines.length === 0;
}

find("#tools").addEventListener("click", ({ target }) => {
  const format = target.dataset.save;
  if (format === "copy") copy(target);
  else if (format) save(format);
});
find("#clear").addEventListener("click", () => {
  if (confirm(say("clearSure"))) transcript.clear();
});

async function copy(button) {
  await navigator.clipboard.writeText(FORMATS.txt.write(transcript.lines));
  dock.status("copied");
}

function save(format) {
  const { type, write } = FORMATS[format];
  const url = URL.createObjectURL(new Blob([write(transcript.lines)], { type: `${type};charset=utf-8` }));
  const link = document.createElement("a");
  link.href = url;
  link.download = `${say("title")} ${now()}.${format}`;
  link.click();
  URL.revokeObjectURL(url);
}

/** 2026-11-24 18.40: local time that every file system takes. */
function now() {
  const local = new Date(Date.now() - new Date().getTimezoneOffset() * 60000);
  return local.toISOString().slice(0, 16).replace("T", " ").replace(":", ".");
}

// --- languages

translate(find("#interface"));
for (const [code, name] of [[AUTO, ""], ...LANGUAGES]) {
  const option = new Option(name, code);
  if (code !== AUTO) option.lang = code;
  spoken.add(option);
}
onLanguage(() => (spoken.options[0].textContent = say("auto")));
spoken.value = localStorage.getItem(SPOKEN) ?? likelyLanguage(navigator.language);
spoken.addEventListener("change", () => {
  localStorage.setItem(SPOKEN, spoken.value);
  take?.useLanguage(spoken.value);
});
