"""What encoder and decoder are built of: Whisper's layers, stacked and without casts."""

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm
from whisper.model import LayerNorm, ResidualAttentionBlock

_POSITIONS = 256  # what is between both matrices of these stays in the processor's cache


def plain_linear(*parts: nn.Linear) -> nn.Linear:
    """One plain `nn.Linear` of several of Whisper's, stacked; a missing bias (Whisper's keys) is zero.

    Plain, because dynamic quantisation looks for exactly that class, and because Whisper's casts its weights at each
    call.
    """
    weight = torch.cat([part.weight.detach() for part in parts])
    biases = [part.weight.new_zeros(part.out_features) if part.bias is None else part.bias.detach() for part in parts]
    linear = nn.Linear(weight.shape[1], weight.shape[0], device="meta", dtype=weight.dtype)
    linear.weight = nn.Parameter(weight, requires_grad=False)
    linear.bias = nn.Parameter(torch.cat(biases), requires_grad=False)
    return linear


class Norm(nn.Module):
    """Layer normalisation without Whisper's casts."""

    def __init__(self, norm: LayerNorm) -> None:
        super().__init__()
        self.eps = norm.eps
        self.weight = nn.Parameter(norm.weight.detach(), requires_grad=False)
        self.bias = nn.Parameter(norm.bias.detach(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """`x` of any shape (…, n_state)."""
        return layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


class FeedForward(nn.Module):
    """The second half of every block: each position for itself, on the processor a few at a time."""

    def __init__(self, block: ResidualAttentionBlock) -> None:
        super().__init__()
        self.norm = Norm(block.mlp_ln)
        self.rise, self.fall = plain_linear(block.mlp[0]), plain_linear(block.mlp[2])

    def forward(self, x: Tensor) -> Tensor:
        """`x` (n, length, n_state), with what the layer adds."""
        if x.device.type == "cpu" and x.shape[1] > _POSITIONS:
            return torch.cat([self._add(part) for part in torch.split(x, _POSITIONS, dim=1)], dim=1)
        return self._add(x)

    def _add(self, x: Tensor) -> Tensor:
        fed: Tensor = self.fall(gelu(self.rise(self.norm(x))))
        return x + fed


def split_heads(x: Tensor, n_head: int) -> Tensor:
    """(n, length, n_state) → (n, n_head, length, n_state / n_head)."""
    return x.view(*x.shape[:2], n_head, -1).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """The inverse of `split_heads`."""
    return x.transpose(1, 2).flatten(2)
