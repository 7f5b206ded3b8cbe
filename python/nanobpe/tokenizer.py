"""The tokenizer: text to ids and back, exactly, with every name of tiktoken's that users know.

A `Tokenizer` never changes, so it may be used from any thread, pickled, and used after a fork.

>>> import nanobpe
>>> ranks = {bytes([i]): i for i in range(256)} | {b"he": 256, b"llo": 258, b"ll": 257}
>>> tok = nanobpe.Tokenizer.from_ranks(ranks, pattern="gpt2", special_tokens={"<|bos|>": 259})
>>> tok.encode("hello<|bos|>", allowed_special="all")
[256, 258, 259]
>>> tok.decode([256, 258])
'hello'
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from nanobpe._core import SpecialRule
from nanobpe._core import Tokenizer as _Core
from nanobpe.arguments import (
    Specials,
    integer,
    list_of_texts,
    list_or_array,
    listed,
    mapping,
    pattern_text,
    special_names,
    thread_count,
    token_bytes,
)
from nanobpe.arrow import is_arrow, list_array, offsets_and_data, string_array
from nanobpe.streams import DecodeStream, stream_ids

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

__all__ = ["DecodeStream", "Tokenizer"]

_Path = str | os.PathLike[str]
_NONE: frozenset[str] = frozenset()
# llama.cpp's names of our patterns.
_GGUF_NAMES = {
    "gpt2": "gpt-2",
    "r50k": "gpt-2",
    "p50k": "gpt-2",
    "llama3": "llama-bpe",
    "qwen2": "qwen2",
    "o200k": "gpt-4o",
}


class Tokenizer:
    """A vocabulary and a pattern, made by training or by one of the `from_` methods.

    Wherever special tokens may stand in text, `allowed_special` are those that become their id
    ("all" or some), and `disallowed_special` those whose text is refused with a `ValueError` ("all"
    that are not allowed, or some); what is in neither is ordinary text. `added_tokens` become their
    id in every text.
    """

    __slots__ = ("_core", "_default", "_merges", "_meta", "_ranks", "_rules")

    _core: _Core
    # Made when first asked for: a loop over `ranks[...]` must not build 50,000 entries each time.
    _merges: list[tuple[bytes, bytes]] | None
    _ranks: dict[bytes, int] | None
    _meta: dict[str, Any] | None
    # The rule of calls that name no special tokens.
    _default: SpecialRule | None
    _rules: dict[tuple[frozenset[str] | None, frozenset[str] | None], SpecialRule]

    def __init__(self) -> None:
        raise TypeError(
            "a tokenizer is made by training or by Tokenizer.load, .from_hf, .from_tiktoken, ..."
        )

    @classmethod
    def _from_core(cls, core: _Core, meta: dict[str, Any] | None = None) -> Tokenizer:
        self = object.__new__(cls)
        self._core = core
        self._merges = self._ranks = None
        self._meta = meta
        self._rules = {}
        self._default = None
        return self

    # Ways in.

    @classmethod
    def load(cls, folder: _Path) -> Tokenizer:
        """The tokenizer that `save` wrote.

        Raises:
            OSError: If a file is missing.
            FormatError: If a file is broken or the files do not agree.
        """
        core, meta = _Core.load(os.fspath(folder))
        return cls._from_core(core, json.loads(meta))

    @classmethod
    def from_ranks(
        cls,
        ranks: Mapping[bytes, int],
        *,
        pattern: str,
        special_tokens: Mapping[str, int] | None = None,
    ) -> Tokenizer:
        """The tokenizer of a table of ranks, which are both ids and the order of merging.

        Any table gives the ids that tiktoken gives, also where a token has a lower rank than the
        tokens that it is made of.

        Raises:
            ValueError: If a single byte is missing, an id is taken twice, or the pattern does
                not compile or loses text.
        """
        table = mapping("ranks", ranks, "bytes to ids")
        specials = _ids_of(special_tokens)
        return cls._from_core(_Core.from_ranks(table, pattern_text(pattern), specials))

    @classmethod
    def from_merges(
        cls,
        vocab: Mapping[int, bytes],
        merges: Sequence[tuple[bytes, bytes]],
        *,
        pattern: str = "gpt2",
        special_tokens: Sequence[str] = (),
    ) -> Tokenizer:
        """The tokenizer of a vocabulary and its merges, first merge first.

        Special tokens that are absent from `vocab` get the next free ids.

        Raises:
            ValueError: As `from_ranks`; if a merge names no token or comes before those of its
                parts.
        """
        tokens = mapping("vocab", vocab, "ids to bytes")
        pairs = listed("merges", merges, "pairs of bytes")
        specials = listed("special_tokens", special_tokens, "str", str)
        return cls._from_core(_Core.from_merges(tokens, pairs, pattern_text(pattern), specials))

    @classmethod
    def from_tiktoken(
        cls, path: _Path, *, pattern: str, special_tokens: Mapping[str, int] | None = None
    ) -> Tokenizer:
        """The tokenizer of a `.tiktoken` file, which holds neither pattern nor special tokens.

        Raises:
            OSError: If the file cannot be read.
            FormatError: If it is broken, with the line.
        """
        specials = _ids_of(special_tokens)
        core = _Core.from_tiktoken(os.fspath(path), pattern_text(pattern), specials)
        return cls._from_core(core)

    @classmethod
    def from_hf(cls, path: _Path) -> Tokenizer:
        """The tokenizer of a Hugging Face tokenizer.json, or of a folder that holds one.

        The ids are those of `encode(text, add_special_tokens=False)` there: what a post-processor
        puts around a text, such as a beginning of text, is left to the caller. Special tokens that
        stand in text need `allowed_special="all"` for that; the other added tokens do not.
        Several steps of splitting become one pattern, each step behind `(?#split)`; `(?#nfc)`
        before it stands for a normalizer.

        Raises:
            OSError: If the file cannot be read.
            FormatError: If it is broken or no byte-level BPE.
        """
        return cls._from_core(_Core.from_hf(os.fspath(path)))

    @classmethod
    def from_gpt2(
        cls, vocab_json: _Path, merges_txt: _Path, *, special_tokens: Sequence[str] = ()
    ) -> Tokenizer:
        """The tokenizer of GPT-2's two files, with GPT-2's pattern.

        Special tokens that vocab.json lacks get the next free ids.

        Raises:
            OSError: If a file cannot be read.
            FormatError: If one is broken, with the place.
        """
        files = os.fspath(vocab_json), os.fspath(merges_txt)
        specials = listed("special_tokens", special_tokens, "str", str)
        return cls._from_core(_Core.from_gpt2(*files, specials))

    # Ways out.

    def save(self, folder: _Path, *, training: Mapping[str, Any] | None = None) -> None:
        """Writes tokenizer.json, vocab.tiktoken and meta.json, in place of an older tokenizer.

        The older one stays until the new one is complete.

        Args:
            folder: Made if absent; it may hold nothing but a tokenizer.
            training: How the tokenizer was made, kept in meta.json; None keeps what is known.

        Raises:
            OSError: If a file cannot be written; what was there is then untouched.
            ValueError: If the folder holds other files.
        """
        known = json.dumps(self.meta)
        meta = known if training is None else self._core.meta(json.dumps(dict(training)))
        self._core.save(os.fspath(folder), meta)

    def to_tiktoken(self, path: _Path) -> None:
        """Writes the tokens and ranks, without special tokens.

        Raises:
            ValueError: If the ids are not in the order of merging, which the format demands.
        """
        self._core.to_tiktoken(os.fspath(path))

    def to_hf(self, folder: _Path) -> None:
        """Writes tokenizer.json and what transformers reads beside it."""
        self._core.to_hf(os.fspath(folder))

    def to_gpt2(self, folder: _Path) -> None:
        """Writes vocab.json and merges.txt, which record no pattern: readers take GPT-2's."""
        if self.pattern_name not in ("gpt2", "r50k", "p50k"):
            warnings.warn(
                "vocab.json and merges.txt record no pattern; readers will split text as GPT-2 "
                f"does, not by {self.pattern_name or self.pattern}",
                stacklevel=2,
            )
        self._core.to_gpt2(os.fspath(folder))

    # Text to ids.

    def _rule(self, allowed: Specials, disallowed: Specials) -> SpecialRule:
        # The defaults, without building sets: those took a third of a call on a short text.
        if allowed is _NONE and disallowed == "all" and self._default is not None:
            return self._default
        sets = (
            special_names("allowed_special", allowed),
            special_names("disallowed_special", disallowed),
        )
        rule = self._rules.get(sets)
        if rule is None:
            rule = self._core.rule(*(None if names is None else sorted(names) for names in sets))
            # Programs use a few; one that makes them up must not fill the memory.
            if len(self._rules) >= 64:
                self._rules.clear()
            self._rules[sets] = rule
        if allowed is _NONE and disallowed == "all":
            self._default = rule
        return rule

    def encode(
        self,
        text: str | bytes,
        *,
        allowed_special: Specials = _NONE,
        disallowed_special: Specials = "all",
    ) -> list[int]:
        """The ids of a text.

        Bytes that are not UTF-8 are encoded as they are; a lone surrogate in a `str` becomes
        U+FFFD.

        Raises:
            ValueError: If the text holds a disallowed special token.
        """
        return self._core.encode(text, self._rule(allowed_special, disallowed_special))

    def encode_ordinary(self, text: str | bytes) -> list[int]:
        """The ids of a text in which special tokens are ordinary text."""
        return self._core.encode(text)

    def encode_to_numpy(
        self,
        text: str | bytes,
        *,
        allowed_special: Specials = _NONE,
        disallowed_special: Specials = "all",
    ) -> npt.NDArray[np.uint16 | np.uint32]:
        """As `encode`, into an array of `dtype`."""
        return self._core.encode_to_numpy(text, self._rule(allowed_special, disallowed_special))

    def encode_batch(
        self,
        texts: Iterable[str | bytes],
        *,
        threads: int | None = None,
        allowed_special: Specials = _NONE,
        disallowed_special: Specials = "all",
    ) -> list[list[int]]:
        """The ids of each text, on up to `threads` threads (all that the process may use)."""
        rule = self._rule(allowed_special, disallowed_special)
        return self._core.encode_batch(list_of_texts(texts), rule, thread_count(threads))

    def encode_batch_to_numpy(
        self,
        texts: Any,
        *,
        threads: int | None = None,
        allowed_special: Specials = _NONE,
        disallowed_special: Specials = "all",
    ) -> tuple[npt.NDArray[np.uint16 | np.uint32], npt.NDArray[np.int64]]:
        """The ids of all texts end to end, and where each begins.

        Args:
            texts: `str` and `bytes`, or an Arrow array of strings (no copies; null is an empty
                text).
            threads: Most threads to use; None is all that the process may use.
            allowed_special: As in `encode`.
            disallowed_special: As in `encode`.

        Returns:
            (ids, offsets): ids of `dtype`; offsets int64, one more than there are texts.
        """
        rule, threads = self._rule(allowed_special, disallowed_special), thread_count(threads)
        if is_arrow(texts):
            return self._core.encode_arrow(*offsets_and_data(string_array(texts)), rule, threads)
        return self._core.encode_batch_to_numpy(list_of_texts(texts), rule, threads)

    def encode_batch_to_arrow(
        self,
        array: Any,
        *,
        threads: int | None = None,
        allowed_special: Specials = _NONE,
        disallowed_special: Specials = "all",
    ) -> pa.ListArray | pa.LargeListArray:
        """The ids of each text of an Arrow array of strings, as an Arrow array of lists.

        Null stays null. The lists are large ones only where the ids are more than 2**31.
        """
        texts = string_array(array)
        rule = self._rule(allowed_special, disallowed_special)
        ids, offsets = self._core.encode_arrow(
            *offsets_and_data(texts), rule, thread_count(threads)
        )
        return list_array(ids, offsets, texts)

    def encode_iterable(
        self,
        chunks: Iterable[str | bytes],
        *,
        allowed_special: Specials = _NONE,
        disallowed_special: Specials = "all",
    ) -> Iterator[int]:
        """The ids of the chunks' concatenation, lazily.

        What might continue in the next chunk is held back: a few kilobytes with built-in patterns
        and most regexes, everything with a regex that has to backtrack or with added tokens that
        look at what stands beside them.
        """
        stream = self._core.encode_stream(self._rule(allowed_special, disallowed_special))
        return stream_ids(stream, chunks)

    def encode_with_offsets(
        self,
        text: str | bytes,
        *,
        unit: Literal["byte", "char"] = "byte",
        allowed_special: Specials = _NONE,
        disallowed_special: Specials = "all",
    ) -> tuple[list[int], npt.NDArray[np.int64]]:
        """The ids of a text and the half-open span of the text that each came from.

        Args:
            text: The text; a `str` counts as its UTF-8.
            unit: "byte", or "char" for the characters of which the token holds a byte.
            allowed_special: As in `encode`.
            disallowed_special: As in `encode`.

        Returns:
            (ids, spans): spans int64 of shape (len(ids), 2).
        """
        if unit not in ("byte", "char"):
            raise ValueError(f'unit {unit!r}, want "byte" or "char"')
        rule = self._rule(allowed_special, disallowed_special)
        return self._core.encode_with_offsets(text, rule, unit == "char")

    def count(self, text: str | bytes) -> int:
        """Number of ids of a text in which special tokens are ordinary text."""
        return self._core.count(text)

    def truncate(self, text: str, max_tokens: int) -> str:
        """The longest prefix of at most `max_tokens` ids that are the first ids of the whole text.

        Special tokens are ordinary text.
        """
        return self._core.truncate(text, integer("max_tokens", max_tokens, 0))

    # Ids to text.

    def decode_bytes(self, ids: Any) -> bytes:
        """The bytes of ids: a sequence of numbers or an array of integers.

        Raises:
            ValueError: If the vocabulary lacks an id.
        """
        return self._core.decode_bytes(list_or_array(ids))

    def decode(self, ids: Any, *, errors: Literal["replace", "strict"] = "replace") -> str:
        """The text of ids.

        Raises:
            ValueError: If the vocabulary lacks an id, or if `errors` is "strict" and the bytes are
                not UTF-8.
        """
        if errors not in ("replace", "strict"):
            raise ValueError(f'errors {errors!r}, want "replace" or "strict"')
        return self.decode_bytes(ids).decode("utf-8", errors)

    def decode_batch(
        self, batch: Iterable[Any], *, errors: Literal["replace", "strict"] = "replace"
    ) -> list[str]:
        """The text of each sequence of ids."""
        return [self.decode(ids, errors=errors) for ids in batch]

    def decode_stream(self) -> DecodeStream:
        """A decoder that takes ids one by one and gives whole characters."""
        return DecodeStream(self)

    # The vocabulary.

    @property
    def vocab_size(self) -> int:
        """Highest id + 1, holes counted."""
        return self._core.vocab_size

    def __len__(self) -> int:
        return self._core.vocab_size

    @property
    def pattern(self) -> str:
        """The regex that splits text into pretokens."""
        return self._core.pattern

    @property
    def pattern_name(self) -> str | None:
        """The name of a built-in pattern."""
        return self._core.pattern_name

    @property
    def gguf_pretokenizer(self) -> str | None:
        """The `tokenizer.ggml.pre` of a GGUF file with this pattern; None where llama.cpp has none.

        llama.cpp splits text by code of its own, which a file can only name. "gpt-2" and
        "llama-bpe" split as here. "qwen2" does not normalise to NFC first. "gpt-4o" knows the case
        of ASCII letters alone and no combining marks, so other words may be split elsewhere and
        get other ids. It has nothing for cl100k, nano and regexes of your own.
        """
        return _GGUF_NAMES.get(self.pattern_name or "")

    @property
    def special_tokens(self) -> dict[str, int]:
        """Special tokens and their ids, in order of id."""
        return self._core.special_tokens

    @property
    def added_tokens(self) -> dict[str, int]:
        """Tokens beside the special ones that a tokenizer.json adds, and their ids, in order of id.

        They are found in every text before it is split, whatever calls allow or refuse.
        """
        return self._core.added_tokens

    @property
    def merges(self) -> list[tuple[bytes, bytes]]:
        """The merges, first one first."""
        if self._merges is None:
            self._merges = self._core.merges
        return self._merges

    @property
    def ranks(self) -> dict[bytes, int]:
        """Tokens and ids without the special and the added ones, in order of id."""
        if self._ranks is None:
            self._ranks = self._core.ranks
        return self._ranks

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of an id, of a special token its text.

        Raises:
            KeyError: If the vocabulary lacks the id.
        """
        return self._core.token_bytes(token_id)

    def token_id(self, token: bytes | str) -> int:
        """The id of a token, or of a special token by its text.

        Raises:
            KeyError: If there is none.
        """
        return self._core.token_id(token_bytes(token))

    def __contains__(self, token: object) -> bool:
        return isinstance(token, bytes | str) and self._core.has_token(token_bytes(token))

    @property
    def byte_lengths(self) -> npt.NDArray[np.int32]:
        """Number of bytes of each id; 0 for special tokens and holes."""
        return self._core.byte_lengths

    @property
    def dtype(self) -> type[np.uint16 | np.uint32]:
        """The smaller type that holds every id."""
        import numpy as np

        return np.uint16 if self.vocab_size <= 2**16 else np.uint32

    @property
    def hash(self) -> str:
        """SHA-256 of pattern, tokens, merges and added tokens: equal for equal tokenizers."""
        return self._core.hash

    @property
    def meta(self) -> dict[str, Any]:
        """What meta.json holds; `training` says how the tokenizer was made, where that is known."""
        if self._meta is None:
            self._meta = json.loads(self._core.meta())
        return self._meta

    @property
    def cache_mib(self) -> int:
        """MiB that each encoding thread may use to remember pretokens; 0 switches that off."""
        return self._core.cache_mib

    @cache_mib.setter
    def cache_mib(self, mib: int) -> None:
        self._core.cache_mib = integer("cache_mib", mib, 0, 1 << 14)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tokenizer):
            return NotImplemented
        return self._core is other._core or self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        pattern = self.pattern_name or self.pattern
        pattern = pattern if len(pattern) <= 60 else pattern[:57] + "..."
        size, specials = self.vocab_size, len(self.special_tokens)
        return f"Tokenizer(vocab_size={size}, pattern={pattern!r}, special_tokens={specials})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_state, (self._core.state(), json.dumps(self.meta))

    def __copy__(self) -> Tokenizer:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Tokenizer:
        return self


def _from_state(
    state: tuple[bytes, bytes, bytes, list[tuple[str, int, int]], str, bool], meta: str
) -> Tokenizer:
    return Tokenizer._from_core(_Core.from_state(state), json.loads(meta))


def _ids_of(special_tokens: Mapping[str, int] | None) -> dict[str, int]:
    specials = {} if special_tokens is None else special_tokens
    return mapping("special_tokens", specials, "texts to ids")
