// Lines → a file: text, SubRip, WebVTT.
//
// A line is { start_s, end_s, text, words }, a word { word, start_s, end_s }; `words` may be empty.

const LINE_COLUMNS = 42; // a wide character takes two
const CUE_COLUMNS = 2 * LINE_COLUMNS;
const CUE_S = 7;
const LEAST_S = 0.001; // a cue without a length is none
const WIDE = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]/;
const VTT_ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
const SRT_ESCAPES = { "<": "‹", ">": "›" }; // players take < > for tags, and SubRip has no way to escape them

export const FORMATS = {
  txt: { type: "text/plain", write: (lines) => lines.map((line) => `${line.text}\n`).join("") },
  srt: { type: "application/x-subrip", write: srt },
  vtt: { type: "text/vtt", write: vtt },
};

function srt(lines) {
  const write = (cue, index) => `${index + 1}\n${times(cue, ",")}\n${cue.lines.map(escaped(SRT_ESCAPES)).join("\n")}\n`;
  return lines.flatMap(cues).map(write).join("\n");
}

function vtt(lines) {
  const write = (cue) => `${times(cue, ".")}\n${cue.lines.map(escaped(VTT_ESCAPES)).join("\n")}\n`;
  return ["WEBVTT\n", ...lines.flatMap(cues).map(write)].join("\n");
}

function escaped(escapes) {
  return (text) => text.replace(/[&<>]/g, (character) => escapes[character] ?? character);
}

function times(cue, point) {
  return `${timecode(cue.start_s, point)} --> ${timecode(cue.end_s, point)}`;
}

function timecode(seconds, point) {
  const ms = Math.round(Math.max(0, seconds) * 1000);
  const digits = (number, count) => String(Math.floor(number)).padStart(count, "0");
  const parts = [ms / 3600000, (ms / 60000) % 60, (ms / 1000) % 60].map((part) => digits(part, 2));
  return `${parts.join(":")}${point}${digits(ms % 1000, 3)}`;
}

/** A line in pieces that can be read: two lines of 42 columns, seven seconds; whole words. */
export function cues(line) {
  const words = line.words.length > 0 ? line.words : spread(line);
  const pieces = [];
  for (const word of words) {
    const piece = pieces.at(-1);
    if (piece && fits([...piece, word])) piece.push(word);
    else pieces.push([word]);
  }
  return pieces.map((piece, index) => {
    const start_s = index === 0 ? line.start_s : piece[0].start_s;
    const last_s = index === pieces.length - 1 ? line.end_s : piece.at(-1).end_s;
    const end_s = Math.max(start_s + LEAST_S, Math.min(last_s, start_s + CUE_S));
    return { start_s, end_s, lines: balanced(piece.map((word) => word.word)) };
  });
}

/** The words of a line without times of their own: as long as they are. */
function spread(line) {
  const words = line.text.split(" ").filter(Boolean);
  const letters = words.reduce((sum, word) => sum + word.length, 0);
  let said = 0;
  const at = (count) => line.start_s + ((line.end_s - line.start_s) * count) / letters;
  return words.map((word) => ({ word, start_s: at(said), end_s: at((said += word.length)) }));
}

function fits(words) {
  const text = words.map((word) => word.word).join(" ");
  return columns(text) <= CUE_COLUMNS && words.at(-1).end_s - words[0].start_s <= CUE_S;
}

/** One line where that is short enough, or two that are about as long. */
function balanced(words) {
  const whole = words.join(" ");
  if (columns(whole) <= LINE_COLUMNS || words.length === 1) return [whole];
  let best = null;
  for (let i = 1; i < words.length; i++) {
    const lines = [words.slice(0, i).join(" "), words.slice(i).join(" ")];
    const longest = Math.max(...lines.map(columns));
    if (best === null || longest < best.longest) best = { lines, longest };
  }
  return best.lines;
}

function columns(text) {
  let count = 0;
  for (const character of text) count += WIDE.test(character) ? 2 : 1;
  return count;
}
