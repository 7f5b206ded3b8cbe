"""What all tests share. Nothing here needs a network, a home directory or a GPU."""

import os
import signal
import sysconfig
from pathlib import Path

import pytest

# Several test processes share two cores; set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The background job of a shell ignores Ctrl-C, and so does what it starts: the tests need it heard.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Published vocabularies and real texts beside the project, where they are present."""
    if not _SHARED_DATA.is_dir():
        pytest.skip("needs the data beside the project")
    return _SHARED_DATA


@pytest.fixture(scope="session")
def library_text() -> str:
    """300 KB of real text that every machine has: sources of Python's standard library."""
    root = Path(sysconfig.get_path("stdlib"))
    names = ("argparse", "dataclasses", "datetime", "doctest", "inspect", "textwrap", "typing")
    paths = [root / f"{name}.py" for name in names]
    text = "".join(p.read_text(encoding="utf-8") for p in paths if p.exists())
    return text[:300_000]
