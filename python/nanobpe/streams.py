"""Text and ids as they come: what `encode_iterable` and `decode_stream` give."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from nanobpe._core import EncodeStream

if TYPE_CHECKING:
    from nanobpe.tokenizer import Tokenizer

# Characters of a chunk that a stream takes at a time: what it yields from is then small.
_PORTION = 1 << 14


class DecodeStream:
    """Text from ids as they come, in whole characters."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """The characters that this id completes.

        Raises:
            ValueError: If the vocabulary lacks the id.
        """
        return self._decoder.decode(self._tokenizer.decode_bytes([token_id]))

    def finish(self) -> str:
        """U+FFFD if a character was left unfinished, else nothing; the stream is as new then."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest


def stream_ids(stream: EncodeStream, chunks: Iterable[str | bytes]) -> Iterator[int]:
    """The ids of the chunks end to end, as they become certain."""
    held = ""
    for chunk in chunks:
        if isinstance(chunk, str):
            chunk, held = held + chunk, ""
            # A high surrogate may meet its other half in the next chunk.
            if chunk and "\ud800" <= chunk[-1] <= "\udbff":
                chunk, held = chunk[:-1], chunk[-1]
        elif not isinstance(chunk, bytes | bytearray):
            raise TypeError(f"a chunk is str or bytes, got {type(chunk).__name__}")
        elif held:
            yield from stream.push(held)
            held = ""
        start = 0
        while start < len(chunk):
            end = start + _PORTION
            # Nor may a portion part the two.
            if isinstance(chunk, str) and "\ud800" <= chunk[end - 1 : end] <= "\udbff":
                end += 1
            yield from stream.push(chunk[start:end])
            start = end
    if held:
        yield from stream.push(held)
    yield from stream.finish()
