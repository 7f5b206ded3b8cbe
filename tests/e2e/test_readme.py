"""The README's Python runs as it stands, and its commands exist."""

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def test_the_tokenizer_snippet_runs(tmp_path):
    snippet = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    assert "train_from_iterator" in snippet
    subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, check=True)


def test_every_command_shown_has_help():
    shown = set(re.findall(r"^(?:\$ )?(nanobpe|nanotrain)\s+([a-z]+)", README, re.MULTILINE))
    assert len(shown) == 14
    for program, command in shown:
        done = subprocess.run(
            [sys.executable, "-m", program, command, "--help"], capture_output=True, check=True
        )
        assert done.stdout
