"""What the compiled half of the package offers to the other; users take it from `nanobpe`."""

import os
from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

__all__ = [
    "PATTERNS",
    "UNICODE_VERSION",
    "CountRows",
    "Counter",
    "Counts",
    "DocumentEncoder",
    "EncodeStream",
    "EncodedParts",
    "FormatError",
    "Packer",
    "ParquetFile",
    "Shards",
    "SpecialRule",
    "Tokenizer",
    "__version__",
    "check_training",
    "train",
    "verify",
]

PATTERNS: dict[str, str]
UNICODE_VERSION: str
__version__: str

class FormatError(ValueError): ...

_ShortOrLong = np.uint16 | np.uint32

@final
class SpecialRule: ...

@final
class EncodeStream:
    def push(self, chunk: str | bytes) -> list[int]: ...
    def finish(self) -> list[int]: ...

@final
class Tokenizer:
    @staticmethod
    def from_ranks(
        ranks: dict[bytes, int], pattern: str, specials: dict[str, int]
    ) -> Tokenizer: ...
    @staticmethod
    def from_merges(
        vocab: dict[int, bytes],
        merges: list[tuple[bytes, bytes]],
        pattern: str,
        specials: Sequence[str],
    ) -> Tokenizer: ...
    @staticmethod
    def from_tiktoken(path: str, pattern: str, specials: dict[str, int]) -> Tokenizer: ...
    @staticmethod
    def from_hf(path: str) -> Tokenizer: ...
    @staticmethod
    def from_gpt2(vocab_json: str, merges_txt: str, specials: Sequence[str]) -> Tokenizer: ...
    @staticmethod
    def load(path: str) -> tuple[Tokenizer, str]: ...
    def meta(self, training: str | None = None) -> str: ...
    def save(self, path: str, meta: str) -> None: ...
    def to_tiktoken(self, path: str) -> None: ...
    def to_hf(self, path: str) -> None: ...
    def to_gpt2(self, path: str) -> None: ...
    def state(self) -> tuple[bytes, bytes, bytes, list[tuple[str, int, int]], str, bool]: ...
    @staticmethod
    def from_state(
        state: tuple[bytes, bytes, bytes, list[tuple[str, int, int]], str, bool],
    ) -> Tokenizer: ...
    def rule(
        self, allowed: Sequence[str] | None, disallowed: Sequence[str] | None
    ) -> SpecialRule: ...
    def encode(self, text: str | bytes, rule: SpecialRule | None = None) -> list[int]: ...
    def encode_to_numpy(
        self, text: str | bytes, rule: SpecialRule | None = None
    ) -> npt.NDArray[_ShortOrLong]: ...
    def encode_batch(
        self,
        texts: list[str | bytes],
        rule: SpecialRule | None = None,
        threads: int | None = None,
    ) -> list[list[int]]: ...
    def encode_batch_to_numpy(
        self,
        texts: list[str | bytes],
        rule: SpecialRule | None = None,
        threads: int | None = None,
    ) -> tuple[npt.NDArray[_ShortOrLong], npt.NDArray[np.int64]]: ...
    def encode_arrow(
        self,
        offsets: npt.NDArray[np.int64],
        data: npt.NDArray[np.uint8],
        rule: SpecialRule | None = None,
        threads: int | None = None,
    ) -> tuple[npt.NDArray[_ShortOrLong], npt.NDArray[np.int64]]: ...
    def encode_with_offsets(
        self, text: str | bytes, rule: SpecialRule | None, characters: bool
    ) -> tuple[list[int], npt.NDArray[np.int64]]: ...
    def count(self, text: str | bytes) -> int: ...
    def truncate(self, text: str, max_tokens: int) -> str: ...
    def encode_stream(self, rule: SpecialRule | None = None) -> EncodeStream: ...
    def decode_bytes(self, ids: list[int] | npt.NDArray[np.uint32]) -> bytes: ...
    def token_bytes(self, id: int) -> bytes: ...
    def token_id(self, token: bytes) -> int: ...
    def has_token(self, token: bytes) -> bool: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def pattern(self) -> str: ...
    @property
    def pattern_name(self) -> str | None: ...
    @property
    def special_tokens(self) -> dict[str, int]: ...
    @property
    def added_tokens(self) -> dict[str, int]: ...
    @property
    def num_merges(self) -> int: ...
    @property
    def merges(self) -> list[tuple[bytes, bytes]]: ...
    @property
    def ranks(self) -> dict[bytes, int]: ...
    @property
    def byte_lengths(self) -> npt.NDArray[np.int32]: ...
    @property
    def hash(self) -> str: ...
    @property
    def cache_mib(self) -> int: ...
    @cache_mib.setter
    def cache_mib(self, mib: int) -> None: ...

@final
class Shards:
    def __new__(cls, folder: os.PathLike[str], split: str) -> Shards: ...
    def manifest(self) -> str: ...
    def paths(self) -> list[str]: ...
    def starts(self, index: int) -> npt.NDArray[np.uint32]: ...

@final
class DocumentEncoder:
    @staticmethod
    def to_shards(
        tokenizer: Tokenizer,
        options: dict[str, Any],
        folder: os.PathLike[str],
        plan: str,
        names: Sequence[str],
        shares: Sequence[float],
        seed: int,
        shard_tokens: int,
        shuffle: int | None,
        resume: bool,
        progress: Callable[[dict[str, Any]], object] | None,
    ) -> tuple[DocumentEncoder | None, str | None]: ...
    @staticmethod
    def to_stdout(
        tokenizer: Tokenizer,
        options: dict[str, Any],
        width: int | None,
        progress: Callable[[dict[str, Any]], object] | None,
    ) -> DocumentEncoder: ...
    @staticmethod
    def to_parts(
        tokenizer: Tokenizer, options: dict[str, Any], shares: Sequence[float], seed: int
    ) -> tuple[DocumentEncoder, EncodedParts]: ...
    @staticmethod
    def to_tally(
        tokenizer: Tokenizer,
        options: dict[str, Any],
        progress: Callable[[dict[str, Any]], object] | None,
    ) -> DocumentEncoder: ...
    def is_full(self) -> bool: ...
    def add_texts(self, texts: Sequence[str | bytes]) -> None: ...
    def add_arrow(self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> None: ...
    def add_file(
        self, path: os.PathLike[str], kind: str, field: str, compression: str | None = None
    ) -> None: ...
    def add_parquet(
        self, file: ParquetFile, field: str, groups: Sequence[int] | None = None
    ) -> None: ...
    def add_stream(
        self, name: str, read: Callable[[int], bytes], kind: str, field: str
    ) -> None: ...
    def add_encoded(
        self,
        ids: npt.NDArray[np.uint16] | npt.NDArray[np.uint32],
        counts: npt.NDArray[np.uint64],
        bytes: npt.NDArray[np.uint64],
        splits: npt.NDArray[np.uint8],
    ) -> None: ...
    def finish(self) -> str | None: ...
    def abandon(self) -> bool: ...

@final
class EncodedParts:
    def next(
        self,
    ) -> (
        tuple[
            npt.NDArray[np.uint16] | npt.NDArray[np.uint32],
            npt.NDArray[np.uint64],
            npt.NDArray[np.uint64],
            npt.NDArray[np.uint8],
        ]
        | None
    ): ...

@final
class ParquetFile:
    def __new__(
        cls, name: str, remote: tuple[int, Callable[[int, int], bytes]] | None = None
    ) -> ParquetFile: ...
    @property
    def columns(self) -> list[str]: ...
    @property
    def group_bytes(self) -> list[int]: ...

@final
class Packer:
    @staticmethod
    def from_shards(
        shards: Shards,
        row_tokens: int,
        mode: str,
        bos: int | None,
        seed: int,
        buffer_documents: int,
        epochs: int | None,
    ) -> Packer: ...
    @staticmethod
    def from_documents(
        bytes: npt.NDArray[np.uint8],
        width: int,
        ends: npt.NDArray[np.uint64],
        row_tokens: int,
        mode: str,
        bos: int | None,
        seed: int,
        buffer_documents: int,
        epochs: int | None,
    ) -> Packer: ...
    def rows(self, rows: int) -> npt.NDArray[np.uint8]: ...
    def state(self) -> str: ...
    def restore(self, state: str) -> None: ...
    def report(self) -> str: ...

def verify(
    folder: os.PathLike[str], progress: Callable[[dict[str, int]], object] | None = None
) -> tuple[int, int, list[str]]: ...

@final
class Counts:
    @property
    def documents(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def distinct(self) -> int: ...
    @property
    def total(self) -> int: ...
    def fingerprint(self) -> str: ...
    def rows(self) -> CountRows: ...

@final
class CountRows:
    def next(
        self, most: int
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.uint64]]: ...

@final
class Counter:
    def __new__(
        cls,
        pattern: str,
        special_tokens: Sequence[str],
        split_on: Sequence[str],
        threads: int,
        max_bytes: int | None,
        max_document_chars: int | None,
        memory: tuple[int, os.PathLike[str]] | None,
        progress: Callable[[dict[str, Any]], object] | None,
    ) -> Counter: ...
    def is_full(self) -> bool: ...
    def add_texts(self, texts: Sequence[str | bytes]) -> None: ...
    def add_arrow(self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> None: ...
    def add_file(
        self, path: os.PathLike[str], kind: str, field: str, compression: str | None = None
    ) -> None: ...
    def add_parquet(
        self, file: ParquetFile, field: str, groups: Sequence[int] | None = None
    ) -> None: ...
    def add_stream(
        self, name: str, read: Callable[[int], bytes], kind: str, field: str
    ) -> None: ...
    def add_counts(
        self,
        data: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.int64],
        counts: npt.NDArray[np.uint64],
    ) -> None: ...
    def add_fed(self, documents: int, bytes: int) -> None: ...
    def finish(self) -> Counts: ...

def train(
    counts: Counts,
    pattern: str,
    vocab_size: int,
    special_tokens: Sequence[str],
    tie_break: str,
    min_frequency: int,
    max_token_bytes: int | None,
    resume: Tokenizer | None,
    threads: int,
    progress: Callable[[dict[str, Any]], object] | None,
) -> tuple[Tokenizer, int, int]: ...
def check_training(
    vocab_size: int,
    special_tokens: Sequence[str],
    tie_break: str,
    min_frequency: int,
    max_token_bytes: int | None,
    resume: Tokenizer | None,
) -> None: ...
