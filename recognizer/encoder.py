"""Whisper's audio encoder over a window as long as the speech needs, instead of always 30 s."""

from typing import cast

from torch import Tensor, nn
from torch.nn.functional import conv1d, gelu, scaled_dot_product_attention
from whisper.model import AudioEncoder, ResidualAttentionBlock

from recognizer.layers import FeedForward, Norm, join_heads, plain_linear, split_heads


class _Layer(nn.Module):
    """One block of the encoder."""

    def __init__(self, block: ResidualAttentionBlock) -> None:
        super().__init__()
        attention = block.attn
        self.n_head = attention.n_head
        self.norm = Norm(block.attn_ln)
        self.qkv = plain_linear(attention.query, attention.key, attention.value)
        self.out = plain_linear(attention.out)
        self.feed_forward = FeedForward(block)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (1, n_ctx, n_state)."""
        query, key, value = (split_heads(part, self.n_head) for part in self.qkv(self.norm(x)).chunk(3, dim=-1))
        x = x + self.out(join_heads(scaled_dot_product_attention(query, key, value)))
        fed: Tensor = self.feed_forward(x)
        return fed


class _Convolution(nn.Module):
    """One of the two at the entrance, with its activation."""

    def __init__(self, convolution: nn.Conv1d, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(convolution.weight.detach(), requires_grad=False)
        self.bias = nn.Parameter(cast(Tensor, convolution.bias).detach(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """`x` (1, n_in, length)."""
        return gelu(conv1d(x, self.weight, self.bias, stride=self.stride, padding=1))


class FastEncoder(nn.Module):
    """The encoder of a Whisper model, in the precision of its weights."""

    def __init__(self, encoder: AudioEncoder) -> None:
        super().__init__()
        self.conv1, self.conv2 = _Convolution(encoder.conv1, stride=1), _Convolution(encoder.conv2, stride=2)
        self.positions = nn.Parameter(encoder.positional_embedding.detach(), requires_grad=False)
        self.layers = nn.ModuleList(_Layer(block) for block in encoder.blocks)
        self.norm = Norm(encoder.ln_post)

    def forward(self, mel: Tensor) -> Tensor:
        """Log-mel (n_mels, n_frames), any even number up to the model's window → (n_frames / 2, n_state)."""
        x = self.conv2(self.conv1(mel[None])).transpose(1, 2)
        x = x + self.positions[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        normed: Tensor = self.norm(x)
        return normed[0]
