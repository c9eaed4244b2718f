// Where the gateway is, what it serves, and the key for it.

import { AUTO } from "./languages.js";
import { subprotocols } from "./wire.js";

const STORED = "key";
const ANSWER_MS = 5000; // for what takes the gateway three seconds at most
const REALTIME = new URL("v1/realtime?intent=transcription", document.baseURI);
const READY = new URL("readyz", document.baseURI);
const ACCESS = new URL("page/access", document.baseURI);
const TRANSCRIPTIONS = new URL("v1/audio/transcriptions", document.baseURI);

export function storedKey() {
  return sessionStorage.getItem(STORED) ?? "";
}

export function storeKey(key) {
  sessionStorage.setItem(STORED, key);
}

/** A WebSocket for live speech; raises SyntaxError where the key has characters that cannot be sent so. */
export function openRealtime(key) {
  const url = new URL(REALTIME);
  url.protocol = url.protocol.replace("http", "ws");
  return new WebSocket(url, subprotocols(key));
}

/** What `door` is for this key: "open", "key" (it is missing or wrong), "closed", or "unreachable", as servers may be. */
export async function access(door, key) {
  const asked = { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) };
  try {
    const response = await fetch(ACCESS, { ...asked, headers: authorization(key) });
    if (response.status === 401) return "key";
    if (!response.ok) return "unreachable";
    if (!(await response.json()).doors.includes(door)) return "closed";
    const { engines } = await (await fetch(READY, asked)).json();
    return engines > 0 ? "open" : "unreachable";
  } catch (error) {
    if (error instanceof TypeError || error.name === "TimeoutError") return "unreachable";
    throw error;
  }
}

/**
 * Have a whole file recognised: a promise of { start_s, end_s, text, language, words } for each of its segments.
 *
 * onSent(part): how much of it has been sent, 0 to 1. signal: an AbortSignal. Raises UploadError.
 */
export function transcribe(file, { language, key, onSent, signal }) {
  const form = new FormData();
  const fields = { model: "whisper-1", language, response_format: "verbose_json" };
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  for (const times of ["segment", "word"]) form.append("timestamp_granularities[]", times);
  form.append("file", file); // last, so that what is wrong is known before it is sent
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not tell how much has been sent
    request.open("POST", TRANSCRIPTIONS);
    request.responseType = "json";
    for (const [name, value] of Object.entries(authorization(key))) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => onSent(loaded / total);
    request.onload = () => {
      if (request.status === 200) resolve(lines(request.response, language));
      else reject(new UploadError(request.status, request.response?.error?.message ?? request.statusText));
    };
    request.onerror = () => reject(new UploadError(0, ""));
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/** `status`: HTTP's, 0 where there was no answer. */
export class UploadError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function authorization(key) {
  return key === "" ? {} : { Authorization: `Bearer ${key}` };
}

function lines({ segments, words }, asked) {
  const language = asked === AUTO ? null : asked; // the answer has its name only
  const left = words.map(({ word, start, end }) => ({ word, start_s: start, end_s: end }));
  return segments.map(({ start, end, text }) => {
    const count = left.findIndex((word) => word.start_s >= end);
    const own = left.splice(0, count === -1 ? left.length : count);
    return { start_s: start, end_s: end, text: text.trim(), language, words: own };
  });
}
