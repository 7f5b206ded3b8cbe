"""Text from a trained model."""

from nanotrain.infer.sample import Sample, generate

__all__ = ["Sample", "generate"]
