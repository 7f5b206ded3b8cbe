"""Exact, fast byte-level BPE: train, encode, write shards, pack rows."""

from nanobpe._core import PATTERNS, FormatError, __version__
from nanobpe.shards import Packer, Shards
from nanobpe.tokenizer import DecodeStream, Tokenizer
from nanobpe.train import (
    CountReport,
    TrainReport,
    count,
    train,
    train_from_counts,
    train_from_iterator,
)

__all__ = [
    "PATTERNS",
    "CountReport",
    "DecodeStream",
    "FormatError",
    "Packer",
    "Shards",
    "Tokenizer",
    "TrainReport",
    "__version__",
    "count",
    "train",
    "train_from_counts",
    "train_from_iterator",
]
