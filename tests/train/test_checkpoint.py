"""Checkpoints: the same types back, damage found, older content never lost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nanotrain import checkpoint

WEIGHT = torch.arange(12.0).view(3, 4)
STATE: dict[str, Any] = {
    "model": {"a": WEIGHT, "transposed": WEIGHT.T, "again": WEIGHT, "scalar": torch.tensor(3)},
    "optim": [{"state": {0: {"step": torch.tensor(1.0)}}, "groups": [{"betas": (0.8, 0.96)}]}],
    "x": {"y.z": torch.zeros(2), "y": {"z": torch.ones(2)}},
    "numbers": (1, 2.5, -math.inf, True, None, "ü\ud800", 2**70),
    "empty": [torch.empty(0, 3), {}, (), []],
    "types": {str(t): torch.ones(3).to(t) for t in (torch.bfloat16, torch.uint8, torch.bool)},
    "view": torch.arange(100)[10:12],
    7: torch.arange(3),
}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b or (a != a and b != b))


def test_a_state_comes_back_with_its_types(tmp_path):
    checkpoint.save(STATE, tmp_path / "deep" / "c")
    assert same(checkpoint.load(tmp_path / "deep" / "c"), STATE)
    assert same(checkpoint.load(tmp_path / "deep" / "c", keys={"x"}), {"x": STATE["x"]})
    assert {p.suffix for p in (tmp_path / "deep" / "c").iterdir()} == {".safetensors", ".json"}


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.integers(0, 4).map(lambda n: torch.arange(n)),
)
nested = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=5), st.integers()), inner, max_size=3),
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(state=nested)
def test_any_nested_state_comes_back(tmp_path_factory, state):
    folder = tmp_path_factory.mktemp("any") / "c"
    checkpoint.save(state, folder)
    assert same(checkpoint.load(folder), state)


def test_every_damage_is_found(tmp_path):
    checkpoint.save(STATE, tmp_path / "c")
    for path in sorted((tmp_path / "c").iterdir()):
        content = path.read_bytes()
        places = {0, 8, len(content) // 3, len(content) // 2, len(content) - 1}
        for place in sorted(places & set(range(len(content)))):
            damaged = bytearray(content)
            damaged[place] ^= 4
            path.write_bytes(damaged)
            with pytest.raises((ValueError, OSError)):
                checkpoint.load(tmp_path / "c")
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises((ValueError, OSError)):
            checkpoint.load(tmp_path / "c")
        path.unlink()
        with pytest.raises((ValueError, OSError)):
            checkpoint.load(tmp_path / "c")
        path.write_bytes(content)
    assert same(checkpoint.load(tmp_path / "c"), STATE)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(OSError, match="absent"):
        checkpoint.load(tmp_path / "absent")


@pytest.mark.parametrize(
    ("state", "place"),
    [({"a": [1, object()]}, r"\['a'\]\['1'\]"), ({"a": {(1, 2): 3}}, r"\['a'\]"), ({1.5: 2}, "")],
)
def test_what_cannot_be_saved_is_named_and_leaves_nothing(tmp_path, state, place):
    with pytest.raises(ValueError, match=f"state{place}"):
        checkpoint.save(state, tmp_path / "c")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path, monkeypatch):
    checkpoint.save({"a": {"b": torch.ones(2)}}, tmp_path / "c")

    def full(tensors: Any, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save({"a": {"b": torch.zeros(2)}}, tmp_path / "c")
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
    assert torch.equal(checkpoint.load(tmp_path / "c")["a"]["b"], torch.ones(2))


def test_saving_again_replaces(tmp_path):
    for value in (1, 2):
        checkpoint.save({"value": value}, tmp_path / "c")
    assert checkpoint.load(tmp_path / "c") == {"value": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
