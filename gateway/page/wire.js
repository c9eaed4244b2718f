// The messages of /v1/realtime, as far as the page needs them (gateway/doors/realtime.py has them all).

import { RATE } from "./tape.js";

const INCLUDE = ["item.input_audio_transcription.partial", "item.input_audio_transcription.words"];
const TRANSCRIPTION = "conversation.item.input_audio_transcription.";
const BUFFER = "input_audio_buffer.";

/** Which of a WebSocket's subprotocols carry the key; browsers can set no header. */
export function subprotocols(key) {
  return key === "" ? ["realtime"] : ["realtime", `openai-insecure-api-key.${key}`];
}

export function settings({ language }) {
  return JSON.stringify({
    type: "session.update",
    session: {
      type: "transcription",
      include: INCLUDE,
      audio: {
        input: {
          format: { type: "audio/pcm", rate: RATE },
          transcription: { language },
          turn_detection: { type: "server_vad" },
        },
      },
    },
  });
}

/** An Int16Array as a message. */
export function audio(samples) {
  const bytes = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
  return `{"type":"input_audio_buffer.append","audio":"${base64(bytes)}"}`;
}

/** No more audio will come: all that is left is told, then the connection is closed. */
export const DONE = '{"type":"input_audio_buffer.done"}';

/** What a message says: { kind, … }, times in seconds from the connection's first sample; null where nothing new. */
export function event(data) {
  const message = JSON.parse(data);
  const item = message.item_id;
  const timed = ({ start_ms, end_ms }) => ({ start_s: start_ms / 1000, end_s: end_ms / 1000 });
  switch (message.type) {
    case "session.updated":
      return { kind: "ready" };
    case `${BUFFER}speech_started`:
      return { kind: "started", item, start_s: message.audio_start_ms / 1000 };
    case `${BUFFER}speech_stopped`:
      return { kind: "stopped", item };
    case `${TRANSCRIPTION}partial`:
      return { kind: "partial", item, ...timed(message), stable: message.stable, unstable: message.unstable };
    case `${TRANSCRIPTION}completed`:
      return {
        kind: "completed",
        item,
        text: message.transcript,
        language: message.language,
        ...timed(message),
        words: message.words.map((word) => ({ word: word.word, ...timed(word) })),
      };
    case "error":
      return { kind: "error", code: message.error.code, message: message.error.message };
    default:
      return null;
  }
}

function base64(bytes) {
  if (bytes.toBase64) return bytes.toBase64();
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
