"""`python -m bench.openvino_export CTRANSLATE2_FOLDER OUT`: Whisper's weights as OpenVINO GenAI wants them.

CTranslate2's folder → a Hugging Face folder → OpenVINO's own exporter, which packs the weights to int8 and keeps the
decoder's keys and values inside the model. Nothing is downloaded. It runs in the environment of the benchmark.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict

END_OF_TEXT = "<|endoftext|>"
START = "<|startoftranscript|>"
TASKS = ("transcribe", "translate")
_TIMESTAMPS = tuple(f"<|{index * 0.02:.2f}|>" for index in range(1501))


def generation_settings(config: Dict[str, Any], tokens: Dict[str, int], n_text_ctx: int) -> Dict[str, Any]:
    """What transformers' GenerationConfig of a Whisper model holds.

    Args:
        config: CTranslate2's `config.json`.
        tokens: the special tokens and their numbers.
        n_text_ctx: how many tokens the decoder takes.
    """
    return {
        "alignment_heads": config["alignment_heads"],
        "begin_suppress_tokens": config["suppress_ids_begin"],
        "bos_token_id": tokens[END_OF_TEXT],
        "decoder_start_token_id": tokens[START],
        "eos_token_id": tokens[END_OF_TEXT],
        "is_multilingual": True,
        "lang_to_id": {name: number for name, number in tokens.items() if number in config["lang_ids"]},
        "max_initial_timestamp_index": 50,
        "max_length": n_text_ctx,
        "no_timestamps_token_id": tokens["<|notimestamps|>"],
        "pad_token_id": tokens[END_OF_TEXT],
        "prev_sot_token_id": tokens["<|startofprev|>"],
        "return_timestamps": False,
        "suppress_tokens": config["suppress_ids"],
        "task_to_id": {task: tokens[f"<|{task}|>"] for task in TASKS},
    }


def special_tokens(tokenizer: Dict[str, Any]) -> Dict[str, int]:
    """The added tokens of a `tokenizer.json`."""
    return {token["content"]: token["id"] for token in tokenizer["added_tokens"]}


def write_hugging_face(source: Path, target: Path) -> None:
    """The model, tokenizer and settings of a CTranslate2 folder, as transformers keeps them."""
    from transformers import (  # noqa: PLC0415
        GenerationConfig,
        WhisperFeatureExtractor,
    )

    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    tokens = special_tokens(json.loads((source / "tokenizer.json").read_text(encoding="utf-8")))
    model = _model(source, tokens)
    model.generation_config = GenerationConfig(**generation_settings(config, tokens, model.config.max_target_positions))
    model.save_pretrained(target)
    WhisperFeatureExtractor(feature_size=model.config.num_mel_bins).save_pretrained(target)
    _tokenizer(source).save_pretrained(target)


def _model(source: Path, tokens: Dict[str, int]) -> Any:
    from transformers import WhisperConfig, WhisperForConditionalGeneration  # noqa: PLC0415

    from recognizer.checkpoints import openai_name, read_checkpoint  # noqa: PLC0415

    dims, state_dict = read_checkpoint(source)
    end = tokens[END_OF_TEXT]
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
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=end,
            decoder_start_token_id=tokens[START],
        )
    ).eval()
    inner = model.model  # without the output projection, which is the token embedding
    inner.load_state_dict({name: state_dict[openai_name(name)].float() for name in inner.state_dict()})
    return model


def _tokenizer(source: Path) -> Any:
    from transformers import AddedToken, WhisperTokenizerFast  # noqa: PLC0415

    tokenizer = WhisperTokenizerFast.from_pretrained(source)
    tokenizer.add_tokens([AddedToken(name, special=True) for name in _TIMESTAMPS])
    return tokenizer


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
