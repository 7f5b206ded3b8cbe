"""Parameters and FLOPs of a model by arithmetic alone, before anything is built.

FLOPs per token of a training step are 6 per weight of every linear layer (2 forward, 4 backward)
and 12 x width x min(window, T) per layer for the two attention products. Embeddings, norms and
softmax are not counted. Units: weights, tokens, floating-point operations.
"""

from __future__ import annotations

from nanotrain.schema import Model

SMEAR_CHANNELS = 24


def padded(vocab_size: int) -> int:
    """Rows of the token tables: the vocabulary rounded up to a multiple of 64."""
    return -(-vocab_size // 64) * 64


def short_window(row_tokens: int) -> int:
    """The short attention window: a quarter of the row, rounded up to a multiple of 128."""
    return -(-row_tokens // 4 // 128) * 128


def windows(model: Model, row_tokens: int) -> list[int]:
    """How far back each layer attends, at most the row; the last layer sees all of it."""
    short = min(short_window(row_tokens), row_tokens)
    pattern = [model.window[i % len(model.window)] for i in range(model.depth)]
    pattern[-1] = "L"
    return [short if letter == "S" else row_tokens for letter in pattern]


def has_value_embedding(model: Model, layer: int) -> bool:
    """Whether this layer has a value table: every second one, the last included."""
    return model.value_embeddings and layer % 2 == (model.depth - 1) % 2


def block_weights(model: Model) -> int:
    """Weights of the block matrices, without gates, biases and norms."""
    width = model.width
    if model.family == "wavenet":
        # Filter and gate of kernel 2, residual and skip of kernel 1; then the flattened
        # receptive field of 2^depth steps.
        return 6 * width**2 * model.depth + (1 << model.depth) * width**2
    if model.family == "mlp":
        return model.context * width**2
    kv_width = width // model.heads * model.kv_heads
    attention = 2 * width**2 + 2 * width * kv_width
    mlp = (3 if model.act == "swiglu" else 2) * width * model.hidden
    return model.depth * (attention + mlp)


def scaling_parameters(model: Model) -> int:
    """Weights that the horizon is a multiple of: block matrices and the head."""
    rows = model.vocab_size if model.family in ("wavenet", "mlp") else padded(model.vocab_size)
    return block_weights(model) + rows * model.width


def flops_per_token(model: Model, row_tokens: int) -> int:
    """Floating-point operations of one training step per token."""
    weights = scaling_parameters(model)
    if model.family in ("wavenet", "mlp"):
        return 6 * weights
    tables = sum(has_value_embedding(model, layer) for layer in range(model.depth))
    weights += tables * model.gate_channels * model.kv_heads
    weights += SMEAR_CHANNELS if model.smear else 0
    return 6 * weights + 12 * model.width * sum(windows(model, row_tokens))
