"""From shards to batches."""

from nanotrain.data.loader import Loader
from nanotrain.data.source import Source

__all__ = ["Loader", "Source"]
