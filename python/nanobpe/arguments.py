"""What callers pass to a `Tokenizer`, checked and in the form that the extension takes."""

from __future__ import annotations

import operator
import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Literal

from nanobpe.arrow import is_arrow, string_array

Specials = Literal["all"] | Collection[str]
# More threads or ids than there can be, in a number that the extension takes.
_MOST = 1 << 31


def special_names(option: str, names: Specials) -> frozenset[str] | None:
    """The special tokens meant, None for all."""
    if isinstance(names, str):
        if names == "all":
            return None
        raise ValueError(f'{option} {names!r}, want "all" or a set of special tokens')
    if not isinstance(names, Iterable):
        kind = type(names).__name__
        raise TypeError(f'{option} is "all" or a set of special tokens, got {kind}')
    found = frozenset(names)
    for name in found:
        if not isinstance(name, str):
            raise TypeError(f"{option} holds {name!r}, want str")
    return found


def mapping(name: str, value: Mapping[Any, Any], of: str) -> dict[Any, Any]:
    """A mapping as a dict."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} is {type(value).__name__}, want a mapping of {of}")
    return dict(value)


def listed(name: str, value: Iterable[Any], of: str, kind: type = object) -> list[Any]:
    """Several things of a type as a list."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise TypeError(f"{name} is {type(value).__name__}, want several {of}")
    found = list(value)
    for item in found:
        if not isinstance(item, kind):
            raise TypeError(f"{name} holds {item!r}, want {of}")
    return found


def pattern_text(pattern: str) -> str:
    """A pattern, which is checked further by the extension."""
    if not isinstance(pattern, str):
        raise TypeError(f"pattern is {type(pattern).__name__}, want str: a name or a regex")
    return pattern


def integer(name: str, value: int, least: int, most: int | None = None) -> int:
    """A whole number from `least` to `most`; without `most` a huge one is made one that fits."""
    try:
        number = operator.index(value)
    except TypeError:
        kind = type(value).__name__
        raise TypeError(f"{name} {value!r} is {kind}, want an integer") from None
    if number < least or (most is not None and number > most):
        want = f"{least} or more" if most is None else f"{least} to {most}"
        raise ValueError(f"{name} {number}, want {want}")
    return min(number, _MOST)


def thread_count(threads: int | None) -> int | None:
    """The most threads to use, None for all."""
    return None if threads is None else integer("threads", threads, 1)


def token_bytes(token: bytes | str) -> bytes:
    """The bytes of a token, or of a special token's text."""
    if isinstance(token, str):
        # Surrogates as in a text.
        return token.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
    if not isinstance(token, bytes):
        raise TypeError(f"token {token!r} is {type(token).__name__}, want bytes or str")
    return token


def list_of_texts(texts: Iterable[str | bytes]) -> list[str | bytes]:
    """Several texts as a list."""
    if isinstance(texts, str | bytes):
        raise TypeError(f"texts is one {type(texts).__name__}, want several; encode takes one")
    if is_arrow(texts):
        texts = string_array(texts).to_pylist()
    if isinstance(texts, list):
        return texts
    if not isinstance(texts, Iterable):
        raise TypeError(f"texts is {type(texts).__name__}, want several str or bytes")
    return list(texts)


def list_or_array(ids: Any) -> Any:
    """Ids as a list or as an array of uint32."""
    if isinstance(ids, list):
        return ids
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(ids, numpy.ndarray):
        if ids.size and ids.dtype.kind not in "ui":
            raise ValueError(f"ids of type {ids.dtype}, want integers")
        # uint32 would wrap what lies beyond; as numbers they are refused by name.
        if ids.size and (ids.min() < 0 or ids.max() >= 2**32):
            return ids.ravel().tolist()
        return numpy.ascontiguousarray(ids.ravel(), dtype=numpy.uint32)
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise TypeError(f"ids are a sequence or an array, got {type(ids).__name__}")
    return list(ids)
