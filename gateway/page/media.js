// A media file as sound, decoded by the browser.

import { RATE } from "./tape.js";

const LONGEST_S = 15 * 60; // decoded sound is large: a quarter of an hour in stereo takes 170 MB

/** The channels of a file, Float32Arrays at RATE; null where the browser cannot read it, or it is too long for that. */
export async function decoded(file) {
  const duration_s = await durationOf(file);
  if (duration_s === null || duration_s > LONGEST_S) return null;
  try {
    const sound = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await file.arrayBuffer());
    return Array.from({ length: sound.numberOfChannels }, (_, index) => sound.getChannelData(index));
  } catch (error) {
    if (error.name === "EncodingError") return null;
    throw error;
  }
}

/** Seconds; null where the browser cannot tell. */
function durationOf(file) {
  const url = URL.createObjectURL(file);
  const element = new Audio();
  element.preload = "metadata";
  return new Promise((resolve) => {
    element.onloadedmetadata = () => resolve(Number.isFinite(element.duration) ? element.duration : null);
    element.onerror = () => resolve(null);
    element.src = url;
  }).finally(() => URL.revokeObjectURL(url));
}
