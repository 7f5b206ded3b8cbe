"""What the installed distribution says of itself, brings, and needs."""

import importlib.metadata
import os
import re
import subprocess
import sys

import pytest

import nanobpe

DISTRIBUTION = importlib.metadata.distribution("nanobpe")


def requirements(extra=None):
    """Names that the distribution requires without an extra, or with this one only."""
    marker = f"extra == '{extra}'" if extra else "extra =="
    lines = [line.replace('"', "'") for line in DISTRIBUTION.requires]
    chosen = [line for line in lines if (marker in line) == bool(extra)]
    return {re.match(r"[\w-]+", line)[0] for line in chosen}


def test_metadata():
    assert DISTRIBUTION.version == nanobpe.__version__
    assert DISTRIBUTION.metadata["Requires-Python"] == ">=3.10"
    assert DISTRIBUTION.metadata["License-Expression"] == "MIT"
    extras = set(DISTRIBUTION.metadata.get_all("Provides-Extra"))
    assert extras == {"train", "report", "track", "ray", "hf", "dev"}
    scripts = {s.name: s.value for s in DISTRIBUTION.entry_points if s.group == "console_scripts"}
    assert scripts == {"nanobpe": "nanobpe.cli:main", "nanotrain": "nanotrain.cli:main"}


def test_the_tokenizer_needs_numpy_and_pyarrow_only():
    assert requirements() == {"numpy", "pyarrow"}
    assert {"torch", "triton", "safetensors", "pydantic"} <= requirements("train")


def test_one_typed_wheel_for_all_pythons():
    files = {str(path) for path in DISTRIBUTION.files}
    if "nanobpe/__init__.py" not in files:
        pytest.skip("installed in development mode")
    tags = re.findall(r"^Tag: (.*)$", DISTRIBUTION.read_text("WHEEL"), re.MULTILINE)
    assert tags
    assert all(tag.startswith("cp310-abi3-") for tag in tags)
    for name in ("nanobpe/py.typed", "nanobpe/_core.pyi", "nanotrain/py.typed"):
        assert name in files
    assert "nanotrain/presets/cpu-demo.toml" in files
    assert not [name for name in files if name.startswith(("tests", "benches", "rust"))]


def run_without(modules, folder, *argv):
    """Runs a program in an interpreter that lacks these modules."""
    for name in modules:
        missing = f"raise ModuleNotFoundError(\"No module named '{name}'\", name='{name}')\n"
        (folder / f"{name}.py").write_text(missing)
    return subprocess.run(
        [sys.executable, "-m", *argv],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )


# What the extras bring.
EXTRAS = ("torch", "triton", "safetensors", "pydantic", "rich", "matplotlib", "tokenizers", "ray")


def test_the_tokenizer_works_without_any_extra(tmp_path, library_text):
    (tmp_path / "corpus.txt").write_text(library_text)
    trained = run_without(
        EXTRAS, tmp_path, "nanobpe", "train", "corpus.txt", "--vocab", "600", "--out", "tok"
    )
    assert trained.returncode == 0, trained.stderr
    encoded = run_without(
        EXTRAS, tmp_path, "nanobpe", "encode", "corpus.txt", "--tok", "tok", "--out", "shards"
    )
    assert encoded.returncode == 0, encoded.stderr
    assert (tmp_path / "shards" / "manifest.json").exists()


@pytest.mark.parametrize("argv", [("run", "cpu-demo"), ("sample", "runs/x"), ("eval", "runs/x")])
def test_the_trainer_without_torch_names_the_extra(tmp_path, argv):
    done = run_without(["torch"], tmp_path, "nanotrain", *argv)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "nanobpe[train]" in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert "Traceback" not in done.stderr


def test_the_tokenizer_imports_nothing_heavy():
    heavy = "{'torch', 'triton', 'nanotrain', 'pyarrow.parquet', 'matplotlib', 'rich'}"
    code = f"import sys, nanobpe; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
