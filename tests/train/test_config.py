"""Merging, automatic rules, errors and the written form of configurations."""

from __future__ import annotations

import math

import pytest

from nanotrain import config, rules
from nanotrain.config import ConfigError, resolve, to_toml
from nanotrain.schema import HORIZONS, keys

# depth: width, tokens B, batch, steps, lr x, weight decay of the published table
TABLE = {
    4: (256, 0.121, 2**18, 462, 0.707, 1.890),
    8: (512, 0.440, 2**18, 1680, 0.707, 0.520),
    12: (768, 1.156, 2**19, 2205, 1.0, 0.280),
    16: (1024, 2.466, 2**19, 4704, 1.0, 0.131),
    20: (1280, 4.569, 2**20, 4357, 1.414, 0.100),
    24: (1536, 7.663, 2**20, 7308, 1.414, 0.060),
}


@pytest.mark.parametrize("depth", TABLE)
def test_depth_sets_everything_as_in_the_table(depth):
    width, tokens, batch, steps, lr, decay = TABLE[depth]
    for resolved in (resolve(f"nano-d{depth}"), resolve(None, {"depth": str(depth)})):
        train, optim = resolved.train, resolved.optim
        assert (resolved.model.width, train.batch_tokens, train.steps) == (width, batch, steps)
        assert resolved.model.heads == width // 128
        assert train.steps * train.batch_tokens / 1e9 == pytest.approx(tokens, rel=0.01)
        assert optim.lr_multiplier == pytest.approx(lr, rel=1e-3)
        # At depth 4 lr x wd would pass 1 % a step.
        capped = min(decay, 0.01 / (0.02 * lr))
        assert optim.weight_decay == pytest.approx(capped, rel=0.01)
        assert optim.warmup_steps == 40


def test_a_capped_decay_is_said():
    assert "capped" in resolve("nano-d4").notes[0]
    assert not resolve("nano-d8").notes


@pytest.mark.parametrize("name", config.preset_names())
def test_written_configuration_resolves_to_itself(name, tmp_path):
    first = resolve(name, {"train.seed": "5", "data.path": 'a "b" \\ c'})
    path = tmp_path / "config.toml"
    path.write_text(to_toml(first))
    second = resolve(path)
    assert second.values() == first.values()
    assert second.origin["train.seed"] == "file config.toml"


def test_origins_name_their_source(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text("[model]\ndepth = 6\n")
    origin = resolve(path, {"train.seed": "3"}, device="cpu", dtype="fp32").origin
    assert origin["model.depth"] == "file x.toml"
    assert origin["train.seed"] == "flag"
    assert origin["train.device"] == origin["train.dtype"] == "device"
    assert origin["data.packing"] == "default"
    assert origin["model.width"].startswith("auto")
    assert set(origin) == set(keys())
    text = to_toml(resolve("nano-d8"))
    assert "depth = 8" in text
    assert "# preset nano-d8" in text


@pytest.mark.parametrize(
    ("flag", "tokens"),
    [
        ({"train.ratio": "21"}, 21 * 41_943_040),
        ({"train.tokens": "1e8"}, 1e8),
        ({"train.tokens": "100_000_000"}, 1e8),
        ({"train.flops": "1e17"}, 1e17 / 295_700_880),
        ({"train.steps": "100", "train.batch_tokens": "65536"}, 100 * 65536),
    ],
)
def test_a_horizon_flag_replaces_the_presets(flag, tokens):
    train = resolve("nano-d8", flag).train
    assert train.steps * train.batch_tokens == pytest.approx(tokens, rel=0.01)
    assert train.ratio is train.tokens is train.flops is None


def test_steps_are_the_floor_of_horizon_over_batch():
    train = resolve(
        None, {"depth": 8, "train.tokens": 1_000_000, "train.batch_tokens": 65536}
    ).train
    assert train.steps == 15


def test_batch_of_steps_agrees_with_the_law():
    steps = resolve(None, {"train.steps": 2205}).train
    assert steps.batch_tokens == 2**19 == rules.global_batch(2205 * 2**19)


def test_the_tokenizer_sets_the_vocabulary(tmp_path):
    assert resolve("cpu-demo", vocab_size=512).model.vocab_size == 512
    assert resolve("cpu-demo", vocab_size=512).origin["model.vocab_size"] == "tokenizer"
    larger = resolve("cpu-demo", {"model.vocab_size": 600}, vocab_size=512)
    assert larger.model.vocab_size == 600
    with pytest.raises(ConfigError, match=r"300.*512"):
        resolve("cpu-demo", {"model.vocab_size": 300}, vocab_size=512)


def test_the_device_fills_what_is_auto():
    train = resolve("nano-d8", device="cuda", dtype="bf16").train
    assert (train.device, train.dtype, train.compile) == ("cuda", "bf16", True)
    given = resolve("nano-d8", {"train.dtype": "fp32"}, device="cpu", dtype="bf16").train
    assert (given.device, given.dtype, given.compile) == ("cpu", "fp32", False)


def test_processes_share_the_batch():
    assert resolve("nano-d12", processes=8).train.batch_tokens == 2**19
    with pytest.raises(ConfigError, match="3 processes"):
        resolve("nano-d12", {"train.batch_tokens": 2**19}, processes=3)


def test_text_and_typed_values_mean_the_same():
    text = {"model.softcap": "off", "model.qk_norm": "false", "train.steps": "7", "depth": "2"}
    typed = {"model": {"softcap": None, "qk_norm": False, "depth": 2}, "train": {"steps": 7}}
    assert resolve(None, text).values() == resolve(None, typed).values()
    both = resolve("cpu-demo", {"observe.trackers": "wandb,tensorboard"}).observe.trackers
    assert both == ("wandb", "tensorboard")


MISTAKES = [
    ({"train.stpes": "5"}, "train.stpes", "train.steps"),
    ({"model.widht": "256"}, "model.widht", "model.width"),
    ({"detph": "4"}, "detph", "depth"),
    ({"trian": {"steps": 3}}, "trian", "train"),
    ({"model.act": "reluu"}, "'reluu', allowed: relu2, gelu, silu, swiglu", "relu2"),
    ({"train.steps": "many"}, "'many', allowed: a whole number", None),
    ({"train.steps": "0"}, "'0', allowed: greater than or equal to 1", None),
    ({"train.steps": "1.5"}, "'1.5', allowed: a whole number", None),
    ({"model.norm_position": "mid"}, "'mid', allowed: pre, post", None),
    ({"model.window": "SX"}, "'SX', allowed: letters S and L", None),
    ({"model.softcap": "-1"}, "'-1', allowed: greater than 0, off", None),
    ({"model.softcap": "nan"}, "'nan'", None),
    ({"train.device": "gpu"}, "'gpu', allowed: auto, cpu, cuda", None),
    ({"model.depth": True}, "True, allowed: a whole number", None),
    ({"train.steps": "5", "train.tokens": "6"}, "train.steps and train.tokens", None),
    ({"model.heads": "5"}, "model.heads 5 does not divide model.width 768", None),
    ({"model.kv_heads": "4"}, "model.kv_heads 4 does not divide model.heads 6", None),
    ({"optim.lr": "1"}, "optim.lr has no effect", "leave out"),
    (
        {"train.batch_tokens": "100000", "train.micro_rows": "8"},
        "100000 tokens is not a multiple of 8 rows x 2048 tokens x 1 process = 16384",
        "use `--train.batch_tokens 98304`",
    ),
]


@pytest.mark.parametrize(("flags", "message", "hint"), MISTAKES)
def test_mistakes_name_value_and_remedy(flags, message, hint):
    with pytest.raises(ConfigError) as caught:
        resolve("nano-d12", flags)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (hint or "") in (caught.value.hint or "")


def test_files_are_named(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("[model]\ndepth = 4\nwidth = = 3\n")
    with pytest.raises(ConfigError, match=r"broken\.toml.*line 3"):
        resolve(broken)
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        resolve("absent.toml")
    broken.write_text("[model]\ndept = 3\n")
    with pytest.raises(ConfigError, match=r"broken\.toml: unknown key model\.dept") as caught:
        resolve(broken)
    assert "model.depth" in caught.value.hint
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        resolve(broken)


def test_presets_are_found_by_name():
    names = config.preset_names()
    assert [f"nano-d{depth}" for depth in range(4, 27, 2)] == [n for n in names if "nano-d" in n]
    assert {"gpt2-124m", "cs336-tinystories", "mlp-bengio", "wavenet-16", "cpu-demo"} <= set(names)
    with pytest.raises(ConfigError) as caught:
        resolve("nano-d13x")
    assert "nano-d1" in caught.value.hint


def test_every_horizon_key_exists():
    assert set(HORIZONS) <= set(keys())
    assert math.isfinite(resolve(None).optim.lr_multiplier)
