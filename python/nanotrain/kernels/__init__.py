"""The operations that a training step spends its time in, one file each.

Every file holds the public function and its `reference`, the definition in plain PyTorch with the
same signature. The functions are what models and optimizers call; which implementation runs is
this package's choice (`use`).
"""

from nanotrain.kernels.attention import attention
from nanotrain.kernels.ba_plus_caa import ba_plus_caa
from nanotrain.kernels.choice import EPS, choice, use
from nanotrain.kernels.embedding import embedding
from nanotrain.kernels.linear_cross_entropy import linear_cross_entropy
from nanotrain.kernels.prepare_qkv import prepare_qkv
from nanotrain.kernels.relu2_mlp import relu2_mlp
from nanotrain.kernels.residual_norm import residual_norm
from nanotrain.kernels.rms_norm import rms_norm
from nanotrain.kernels.xxt import xxt

NAMES = (
    "linear_cross_entropy",
    "rms_norm",
    "residual_norm",
    "prepare_qkv",
    "relu2_mlp",
    "attention",
    "embedding",
    "xxt",
    "ba_plus_caa",
)

__all__ = [
    "EPS",
    "NAMES",
    "attention",
    "ba_plus_caa",
    "backends",
    "choice",
    "embedding",
    "linear_cross_entropy",
    "prepare_qkv",
    "relu2_mlp",
    "residual_norm",
    "rms_norm",
    "use",
    "xxt",
]


def backends() -> dict[str, str]:
    """The implementation behind each kernel under the choice in force, for a run's record."""
    return {name: "torch sdpa" if name == "attention" else "torch" for name in NAMES}
