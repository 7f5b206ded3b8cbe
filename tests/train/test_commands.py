"""The command line: flags, mistakes and exit codes, one line each, nothing left behind."""

from __future__ import annotations

import subprocess
import sys

import pytest
import runs

from nanotrain import cli
from nanotrain.errors import UsageError
from nanotrain.flags import size, split_flags

KEYS = ["model.width", "train.steps", "model.softcap"]


def split(*arguments: str):
    return split_flags(arguments, options=["--json", "--prompt"], keys=KEYS)


def test_configuration_flags_are_taken_out():
    rest, values = split("nano-d8", "--train.steps", "40", "--json", "--model.softcap=off", "x")
    assert rest == ["nano-d8", "--json", "x"]
    assert values == {"train.steps": "40", "model.softcap": "off"}
    assert split("--depth", "4") == ([], {"model.depth": "4"})
    assert split("--train.steps", "-1", "--train.steps", "5") == ([], {"train.steps": "5"})
    assert split("--prompt", "a", "--", "--x") == (["--prompt", "a", "--", "--x"], {})


@pytest.mark.parametrize(
    ("flag", "near"),
    [
        ("--detph", "--depth"),
        ("--model.widht", "--model.width"),
        ("--stpes", "steps"),
        ("--jsn", "--json"),
    ],
)
def test_unknown_flags_name_the_nearest(flag, near):
    with pytest.raises(UsageError) as caught:
        split(flag, "4")
    assert flag in str(caught.value)
    assert near in caught.value.hint


def test_a_flag_without_its_value_is_refused():
    for arguments in (["--train.steps"], ["--train.steps", "--json"]):
        with pytest.raises(UsageError, match=r"--train\.steps needs a value"):
            split(*arguments)


def test_sizes():
    assert [size(text) for text in ("7", "40M", "1.5K", "1e6", "2_000")] == [
        7,
        40_000_000,
        1500,
        1_000_000,
        2000,
    ]
    for text in ("0", "-1", "1.5", "many", "", "1.2.3"):
        with pytest.raises(ValueError):
            size(text)


def error_of(capsys, *arguments: object) -> tuple[int, str]:
    code = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert captured.out == ""
    return code, captured.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["rnu"], 2, ["rnu", "run"]),
        (["plan", "--model.widht", "3"], 2, ["--model.width"]),
        (["plan", "nano-d13x"], 2, ["nano-d13x", "did you mean"]),
        (["plan", "absent.toml"], 2, ["absent.toml"]),
        (["plan", "cpu-demo", "--model.act", "reluu"], 2, ["reluu", "relu2"]),
        (["run", "cpu-demo", "--train.stpes", "3"], 2, ["--train.steps"]),
        (["run", "cpu-demo"], 1, ["no shards", "--data"]),
        (["run", "cpu-demo", "--data", "absent"], 1, ["absent"]),
        (["run", "cpu-demo", "--data", "x", "--train.device", "cuda:99"], 1, ["cuda:99", "GPU"]),
        (["run", "cpu-demo", "--data", "x", "--gpus", "99"], 1, ["--gpus 99", "GPU"]),
        (["run", "cpu-demo", "--gpus", "many"], 2, ["many"]),
        (["sample", "absent"], 1, ["absent"]),
        (["sample", "absent", "--temperature", "-1"], 2, ["-1", "allowed"]),
        (["sample", "absent", "--top-p", "2"], 2, ["'2'", "allowed"]),
        (["sample", "absent", "--step", "x"], 2, ["'x'", "best"]),
        (["eval", "absent", "--on", "core,bpb"], 2, ["core", "bpb"]),
        (["report", "absent"], 1, ["absent"]),
        (["presets", "show"], 2, ["show NAME"]),
        (["presets", "show", "cpu-dmo"], 2, ["cpu-demo"]),
    ],
)
def test_mistakes_are_one_line(arguments, code, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    got, text = error_of(capsys, *arguments)
    assert got == code
    for word in words:
        assert word in text
    assert not list(tmp_path.iterdir())


def test_damaged_shards_and_bad_folders(shards, tmp_path, capsys):
    import shutil

    for number, damage in enumerate((lambda b: b[: len(b) // 2], lambda b: b[:-9] + b"x" + b[-8:])):
        folder = shutil.copytree(shards, tmp_path / f"shards{number}")
        [path] = folder.glob("train_*.bin")
        path.write_bytes(damage(path.read_bytes()))
        code, text = error_of(capsys, "run", "cpu-demo", "--data", folder, "--out", tmp_path / "o")
        assert code == 1
        assert path.name in text
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        assert runs.train(shards, out) == 1
        assert "file" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    code, text = error_of(capsys, "run", "cpu-demo", "--data", tmp_path / "empty")
    assert code == 1
    assert "no manifest.json" in text
    assert not (tmp_path / "o").exists()


def test_a_vocabulary_below_the_shards_is_refused(shards, tmp_path, capsys):
    assert runs.train(shards, tmp_path / "o", model__vocab_size=300) == 2
    text = capsys.readouterr().err
    assert "300" in text
    assert "384" in text


def test_checkpoints_that_a_run_lacks_are_listed(base, capsys):
    code, text = error_of(capsys, "sample", base, "--step", 3)
    assert code == 1
    assert "2, 4, 6, 8" in text


def test_plan_and_dry_run_write_nothing(shards, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["plan", "cpu-demo", "--json"]) == 0
    assert runs.last_json(capsys.readouterr().out)["fits"] is True
    assert runs.train(shards, tmp_path / "o", "--dry-run", "--json") == 0
    assert runs.last_json(capsys.readouterr().out)["steps"] == 8
    assert runs.train(shards, tmp_path / "o", "--dry-run") == 0
    assert "8 steps x 256" in capsys.readouterr().out
    assert cli.main(["plan", "--depth", "100", "--json"]) == 3
    assert not list(tmp_path.iterdir())


def test_presets_are_listed_and_copied(tmp_path, capsys):
    assert cli.main(["presets"]) == 0
    listed = capsys.readouterr().out
    assert "cpu-demo" in listed
    assert "nano-d26" in listed
    target = tmp_path / "mine.toml"
    assert cli.main(["presets", "copy", "cpu-demo", str(target)]) == 0
    assert cli.main(["presets", "show", "cpu-demo"]) == 0
    assert capsys.readouterr().out == target.read_text()
    assert cli.main(["presets", "copy", "cpu-demo", str(target)]) == 1


def test_help_and_usage_errors_start_without_torch():
    code = (
        "import sys; from nanotrain import cli\n"
        "assert cli.main(['plan', '--detph', '4']) == 2\n"
        "try: cli.main(['run', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'matplotlib'} & set(sys.modules), 'heavy imports'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--out" in done.stdout


def test_a_missing_package_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("nanotrain.plan")]:
        monkeypatch.delitem(sys.modules, name)
    assert cli.main(["plan", "cpu-demo"]) == 1
    text = capsys.readouterr().err
    assert text.startswith("error: nanotrain needs the package torch\n")
    assert 'pip install "nanobpe[train]"' in text
