"""The feed-forward part of a layer. Shapes: `b` batch, `t` time, `d` width, `f` hidden."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from nanotrain import kernels
from nanotrain.models.parts import Linear
from nanotrain.schema import Model


class FeedForward(nn.Module):
    """W_out act(W_in x), or W_out (silu(W_in x) * W_up x) for swiglu."""

    def __init__(self, config: Model) -> None:
        super().__init__()
        self.act = config.act
        self.fc = Linear(config.width, config.hidden, bias=config.bias)
        self.up = (
            Linear(config.width, config.hidden, bias=config.bias)
            if config.act == "swiglu"
            else None
        )
        self.out = Linear(config.hidden, config.width, bias=config.bias)

    def forward(self, x_btd: Tensor) -> Tensor:
        """What the layer adds to the stream, (b, t, d)."""
        if self.act == "relu2" and self.fc.bias is None:
            return kernels.relu2_mlp(x_btd, self.fc.weight, self.out.weight)
        h_btf = self.fc(x_btd)
        if self.up is not None:
            h_btf = functional.silu(h_btf) * self.up(x_btd)
        elif self.act == "relu2":
            h_btf = h_btf.relu().square()
        elif self.act == "gelu":
            h_btf = functional.gelu(h_btf, approximate="tanh")
        else:
            h_btf = functional.silu(h_btf)
        y_btd: Tensor = self.out(h_btf)
        return y_btd
