"""Measures of a trained model."""

from nanotrain.evals.bpb import BitsPerByte, bits_per_byte

__all__ = ["BitsPerByte", "bits_per_byte"]
