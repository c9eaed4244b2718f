"""Whisper models whose weights were drawn: what they write means nothing, and differs with what they hear."""

import torch
import whisper


def random_model(dims: whisper.ModelDimensions, eagerness: float = 6.0) -> whisper.Whisper:
    """One that writes other tokens at each place and for each sound; `eagerness` is added to the logit that ends it."""
    torch.manual_seed(7)
    model = whisper.Whisper(dims)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=(3.0 if "query" in name else 1.0) / parameter[0].numel() ** 0.5)
    decoder = model.decoder
    torch.nn.init.normal_(decoder.positional_embedding, std=2.0)
    with torch.no_grad():
        decoder.token_embedding.weight.mul_(1.5)
        eot = decoder.token_embedding.weight[50256 + model.is_multilingual]
        decoder.ln.bias.copy_(eagerness * eot / eot.square().sum())
    return model.eval()
