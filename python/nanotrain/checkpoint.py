"""Nested state in a folder of safetensors and JSON, checked when it is read. No pickle.

    >>> save({"model": model.state_dict(), "step": 500}, "checkpoints/step-000500")
    >>> load("checkpoints/step-000500")["step"]
    500

`state.json` holds the structure with every number and string, `{key}.safetensors` the tensors of
each top-level key, `manifest.json` the size and SHA-256 of the others. The folder appears under its
name only when all of it is on the disk.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nanotrain.files import replacing_folder, sha256

_FORMAT = 1
# Top-level keys that may name a file on any file system; the others share one.
_FILE_NAME = re.compile(r"[a-z0-9_]{1,64}")
_SHARED_FILE = "tensors"
_MANIFEST, _STATE = "manifest.json", "state.json"


def save(state: Any, folder: str | os.PathLike[str]) -> None:
    """Writes a state, in place of an older one of the same name.

    Args:
        state: Nested dicts (str or int keys), lists and tuples of tensors, numbers, str, bool and
            None. Tensors on any device; views are written as what they show.
        folder: Where; its parents are made.

    Raises:
        ValueError: If the state holds anything else; the message names the place.
        OSError: If it cannot be written. What was there before is then unchanged.
    """
    tensors: dict[str, dict[str, Tensor]] = {}
    tree = _encode(state, (), tensors)
    with replacing_folder(Path(folder)) as temporary:
        (temporary / _STATE).write_text(json.dumps({"format": _FORMAT, "state": tree}))
        for name, group in tensors.items():
            _write_tensors(group, temporary / f"{name}.safetensors")
        record = {
            path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
            for path in sorted(temporary.iterdir())
        }
        (temporary / _MANIFEST).write_text(json.dumps(record, indent=1))


def load(folder: str | os.PathLike[str], *, keys: Collection[str] | None = None) -> Any:
    """The state that `save` wrote, with the same types, tensors on the CPU.

    Args:
        folder: What `save` wrote.
        keys: Top-level keys to read, all by default; files of the others are not opened.

    Raises:
        OSError: If the folder or one of its files is missing or cannot be read.
        ValueError: If a file is not what was written; the message names it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"no checkpoint {folder}")
    record = _json(folder / _MANIFEST)
    if not isinstance(record, dict) or _STATE not in record:
        raise ValueError(f"checkpoint {folder} is damaged: {_MANIFEST} does not list {_STATE}")
    _verify(folder, _STATE, record)
    content = _json(folder / _STATE)
    if content.get("format") != _FORMAT:
        raise ValueError(
            f"checkpoint {folder} has format {content.get('format')!r}, allowed: {_FORMAT}"
        )
    tree = content["state"]
    if keys is not None:
        tree = {"dict": [[key, value] for key, value in tree["dict"] if key in keys]}
    tensors: dict[str, dict[str, Tensor]] = {}
    for name in sorted(_files(tree)):
        _verify(folder, f"{name}.safetensors", record)
        try:
            with safe_open(folder / f"{name}.safetensors", framework="pt") as file:
                tensors[name] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(
                f"checkpoint {folder} is damaged: {name}.safetensors: {error}"
            ) from None
    return _decode(tree, tensors)


def _encode(value: Any, path: tuple[str, ...], tensors: dict[str, dict[str, Tensor]]) -> Any:
    """JSON for a value; what JSON cannot tell apart is wrapped in an object that names its type."""
    if value is None or isinstance(value, (bool, str)) or type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, Tensor):
        return {"tensor": _put(value, path, tensors)}
    if isinstance(value, dict):
        for key in value:
            if type(key) not in (str, int):
                raise ValueError(f"state{_place(path)} has the key {key!r}, allowed: str and int")
        entries = [[k, _encode(v, (*path, str(k)), tensors)] for k, v in value.items()]
        return {"dict": entries}
    if type(value) in (list, tuple):
        items = [_encode(v, (*path, str(i)), tensors) for i, v in enumerate(value)]
        return {type(value).__name__: items}
    raise ValueError(
        f"state{_place(path)} is a {type(value).__name__}, allowed: dict, list, tuple, tensor,"
        " int, float, str, bool, None"
    )


def _place(path: tuple[str, ...]) -> str:
    return "".join(f"[{key!r}]" for key in path)


def _put(value: Tensor, path: tuple[str, ...], tensors: dict[str, dict[str, Tensor]]) -> list[str]:
    """Files a tensor away; gives back the file and its name there."""
    if value.layout != torch.strided or value.is_quantized or value.is_meta:
        raise ValueError(f"state{_place(path)} is a sparse, quantized or meta tensor")
    own_file = len(path) > 1 and _FILE_NAME.fullmatch(path[0])
    file = path[0] if own_file else _SHARED_FILE
    name = ".".join(path[1:] if own_file else path)
    group = tensors.setdefault(file, {})
    while name in group:
        # {"a.b": x, "a": {"b": y}} would meet under one name.
        name += "'"
    tensor = value.detach().cpu().contiguous()
    # safetensors refuses tensors that share memory: a view of more is copied to stand alone.
    shared = tensor.untyped_storage().nbytes() != tensor.nbytes
    taken = any(tensor.data_ptr() == other.data_ptr() for other in group.values())
    group[name] = tensor.clone() if shared or (taken and tensor.nbytes) else tensor
    return [file, name]


def _files(tree: Any) -> set[str]:
    """The files that a tree's tensors are in."""
    if not isinstance(tree, dict):
        return set()
    if "tensor" in tree:
        return {tree["tensor"][0]}
    [(kind, content)] = tree.items()
    if kind == "float":
        return set()
    values = [value for _, value in content] if kind == "dict" else content
    return set().union(*map(_files, values))


def _decode(tree: Any, tensors: dict[str, dict[str, Tensor]]) -> Any:
    if not isinstance(tree, dict):
        return tree
    [(kind, content)] = tree.items()
    if kind == "tensor":
        return tensors[content[0]][content[1]]
    if kind == "float":
        return float(content)
    if kind == "dict":
        return {key: _decode(value, tensors) for key, value in content}
    items = [_decode(value, tensors) for value in content]
    return tuple(items) if kind == "tuple" else items


def _write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from None


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError:
        raise ValueError(f"checkpoint {path.parent} is damaged: {path.name} is not JSON") from None


def _verify(folder: Path, name: str, record: dict[str, Any]) -> None:
    """Compares a file with the manifest."""
    want = record.get(name)
    if not isinstance(want, dict):
        raise ValueError(f"checkpoint {folder} is damaged: {_MANIFEST} does not list {name}")
    size = (folder / name).stat().st_size
    if size != want.get("bytes"):
        raise ValueError(
            f"checkpoint {folder} is damaged: {name} has {size} bytes, want {want.get('bytes')}"
        )
    if sha256(folder / name) != want.get("sha256"):
        raise ValueError(f"checkpoint {folder} is damaged: {name} does not match its checksum")
