"""Files through `openai`: URL KEY FILE [LANGUAGE]."""

import json
import sys

import openai

url, key, path = sys.argv[1:4]
language = sys.argv[4] if len(sys.argv) > 4 else openai.omit
client = openai.OpenAI(base_url=url, api_key=key)


def shown(name, value):
    print(json.dumps({"name": name, "value": value}), flush=True)


def transcribed(**options):
    with open(path, "rb") as file:
        return client.audio.transcriptions.create(file=file, language=language, **options)


shown("json", transcribed(model="gpt-4o-transcribe").text)
for kind in ("text", "srt", "vtt"):
    shown(kind, transcribed(model="whisper-1", response_format=kind))
verbose = transcribed(
    model="whisper-1", response_format="verbose_json", timestamp_granularities=["word", "segment"], temperature=0.0
)
shown("verbose_json", verbose.model_dump())
shown("words", [[word.word, word.start, word.end] for word in verbose.words])
shown("segments", [[segment.id, segment.text, segment.start, segment.end] for segment in verbose.segments])
shown("stream", [event.model_dump() for event in transcribed(model="gpt-4o-mini-transcribe", stream=True)])
with open(path, "rb") as file:
    translated = client.audio.translations.create(file=file, model="whisper-1", response_format="verbose_json")
shown("translation", translated.model_dump())
shown("models", [model.id for model in client.models.list()])
shown("model", client.models.retrieve("whisper-1").id)
try:
    client.audio.transcriptions.create(file=("words.txt", b"no sound"), model="whisper-1")
except openai.BadRequestError as error:
    shown("no sound", {"status": error.status_code, "param": error.param, "message": error.message})
try:
    openai.OpenAI(base_url=url, api_key="wrong").models.list()
except openai.AuthenticationError as error:
    shown("wrong key", {"status": error.status_code, "code": error.code})
