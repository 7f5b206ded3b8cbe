"""Kernels against their references in float64, forward and backward, at odd sizes."""

from __future__ import annotations

import importlib
import inspect

import pytest
import torch

from nanotrain import kernels


def rand(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def reference(name):
    return importlib.import_module(f"nanotrain.kernels.{name}").reference


def agree(name, upstream="random", **arguments):
    """Results and gradients of kernel (float32) and reference (float64)."""

    def run(function, dtype):
        leaves = {
            k: v.to(dtype).clone().requires_grad_()
            for k, v in arguments.items()
            if torch.is_tensor(v) and v.is_floating_point()
        }
        results = function(**{**arguments, **leaves})
        results = results if isinstance(results, tuple) else (results,)
        grads = [
            torch.ones((), dtype=dtype).expand(y.shape)
            if upstream == "expanded"
            else rand(*y.shape, seed=9 + i).to(dtype)
            for i, y in enumerate(results)
        ]
        torch.autograd.backward(results, grads)
        return [*results, *(leaf.grad for leaf in leaves.values())]

    got = run(getattr(kernels, name), torch.float32)
    want = run(reference(name), torch.float64)
    for y, w in zip(got, want, strict=True):
        # float32 sums over at most a few hundred terms.
        scale = w.abs().max().clamp(min=0.1)
        assert ((y.double() - w).abs().max() / scale).item() < 2e-5


def loss_case():
    targets = torch.arange(11) * 13 % 60
    targets[[0, 4, 10]] = -100
    return {"x": rand(11, 40), "weight": rand(70, 40, seed=1), "targets": targets}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("chunk_rows", [None, 3, 64])
@pytest.mark.parametrize("softcap", [None, 15.0])
def test_loss(reduction, chunk_rows, softcap):
    options = {"reduction": reduction, "chunk_rows": chunk_rows, "softcap": softcap}
    agree("linear_cross_entropy", **loss_case(), vocab_size=61, **options)


def test_loss_weighs_tokens():
    weights = torch.tensor([0.0, 1, 2, 0.5, 1, 0, 3, 1, 1, 1, 1])
    case = loss_case()
    for reduction in ("mean", "sum", "none"):
        options = {"token_weights": weights, "reduction": reduction}
        got = kernels.linear_cross_entropy(**case, **options)
        torch.testing.assert_close(got, reference("linear_cross_entropy")(**case, **options))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_loss_of_ignored_rows_is_zero(reduction):
    case = loss_case()
    x = case["x"].requires_grad_()
    loss = kernels.linear_cross_entropy(
        x, case["weight"], torch.full((11,), -100), reduction=reduction
    )
    loss.sum().backward()
    assert not loss.any()
    assert not x.grad.any()


@pytest.mark.parametrize("target", [61, 70, 10_000, -7])
@pytest.mark.parametrize("gradient", [False, True])
def test_loss_of_bad_targets_is_nan(target, gradient):
    case = loss_case()
    case["x"].requires_grad_(gradient)
    case["targets"][5] = target
    losses = kernels.linear_cross_entropy(**case, vocab_size=61, reduction="none")
    assert losses.isnan().nonzero().flatten().tolist() == [5]
    assert kernels.linear_cross_entropy(**case, vocab_size=61).isnan()


@pytest.mark.parametrize("width", [1, 127, 768])
@pytest.mark.parametrize("upstream", ["random", "expanded"])
def test_rms_norm(width, upstream):
    agree("rms_norm", x=rand(2, 3, width), upstream=upstream)
    agree("rms_norm", x=rand(5, width), weight=rand(width, seed=1), upstream=upstream)


def test_rms_norm_in_bf16():
    x = rand(5, 768).bfloat16()
    want = reference("rms_norm")(x.double())
    # bf16 rounds at 2^-9; twice that.
    torch.testing.assert_close(kernels.rms_norm(x).double(), want, rtol=2**-8, atol=0)


def test_residual_norm():
    x, y, x0 = rand(2, 3, 70), rand(2, 3, 70, seed=1), rand(2, 3, 70, seed=2)
    a, b = torch.tensor(1.1), torch.tensor(-0.3)
    for given in ({}, {"y": y}, {"x0": x0, "a": a, "b": b}, {"y": y, "x0": x0, "a": a, "b": b}):
        agree("residual_norm", x=x, **given)
        agree("residual_norm", x=x, **given, weight=rand(70, seed=3), upstream="expanded")


@pytest.mark.parametrize("norm", [True, False])
def test_prepare_qkv(norm):
    angle = rand(2, 5, 8, seed=4)
    case = {"q": rand(2, 5, 4, 16), "k": rand(2, 5, 2, 16, seed=1), "v": rand(2, 5, 2, 16, seed=2)}
    value = {"value_rows": rand(2, 5, 2, 16, seed=5), "gate": rand(2, 5, 2, seed=6)}
    for cos, sin in ((angle.cos(), angle.sin()), (angle[0].cos(), angle[0].sin())):
        agree("prepare_qkv", **case, cos=cos, sin=sin, norm=norm)
        agree("prepare_qkv", **case, cos=cos, sin=sin, norm=norm, scale=1.0, **value)


@pytest.mark.parametrize("window", [None, 0, 1, 16, 35, 36, 37, 38])
def test_attention(window):
    q, k, v = rand(2, 37, 4, 8), rand(2, 37, 2, 8, seed=1), rand(2, 37, 2, 8, seed=2)
    agree("attention", q=q, k=k, v=v, window=window)
    agree("attention", q=q, k=k, v=v, window=window, scale=0.3, upstream="expanded")


def test_a_window_sees_itself_and_as_many_back():
    q, k = torch.zeros(1, 6, 1, 4), torch.zeros(1, 6, 1, 4)
    v = torch.eye(6).view(1, 6, 1, 6)[..., :4]
    seen = kernels.attention(q, k, v, window=2)[0, :, 0]
    # Equal scores: the mean over keys 1, 2 and 3 for query 3.
    torch.testing.assert_close(seen[3], torch.tensor([0, 1 / 3, 1 / 3, 1 / 3]))


def test_mlp():
    agree("relu2_mlp", x=rand(2, 33, 24), w_in=rand(50, 24, seed=1), w_out=rand(24, 50, seed=2))


def test_embedding():
    ids = torch.tensor([[3, 0, 3, 9, 3, 1], [9, 9, 9, 3, 0, 10]])
    agree("embedding", ids=ids, weight=rand(11, 37))
    order = importlib.import_module("nanotrain.kernels.embedding").sort_ids(ids)
    agree("embedding", ids=ids, weight=rand(11, 37), order=order, upstream="expanded")


def test_segment_sums_equal_autograd():
    module = importlib.import_module("nanotrain.kernels.embedding")
    ids = torch.randint(0, 7, (3, 50), generator=torch.Generator().manual_seed(0))
    weight, upstream = rand(9, 16).requires_grad_(), rand(3, 50, 16, seed=1)
    reference("embedding")(ids, weight).backward(upstream)
    got = module.segment_sums(upstream.view(-1, 16), module.sort_ids(ids), 9)
    torch.testing.assert_close(got, weight.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(5, 9), (70, 20), (3, 33, 17), (2, 2, 20, 40)])
def test_symmetric_products(shape):
    x = rand(*shape)
    gram = kernels.xxt(x.float())
    assert torch.equal(gram, gram.mT)
    torch.testing.assert_close(gram.double(), x @ x.mT, rtol=1e-5, atol=1e-5)
    a = x @ x.mT / shape[-1]
    torch.testing.assert_close(
        kernels.ba_plus_caa(a, -2.8, 0.5), -2.8 * a + 0.5 * a @ a, rtol=1e-10, atol=1e-10
    )


def test_shapes_that_do_not_fit_are_refused():
    x, ids = torch.randn(4, 6), torch.zeros(4, dtype=torch.long)
    for call in (
        lambda: kernels.linear_cross_entropy(x, torch.randn(9, 5), ids),
        lambda: kernels.linear_cross_entropy(x, torch.randn(9, 6), ids[:3]),
        lambda: kernels.linear_cross_entropy(x, torch.randn(9, 6), ids, reduction="max"),
        lambda: kernels.linear_cross_entropy(x, torch.randn(9, 6), ids, vocab_size=10),
        lambda: kernels.rms_norm(x, torch.ones(5)),
        lambda: kernels.residual_norm(x, x[:2]),
        lambda: kernels.residual_norm(x, x0=x),
        lambda: kernels.attention(x.view(1, 4, 3, 2), *[torch.randn(1, 4, 2, 2)] * 2),
        lambda: kernels.relu2_mlp(x, torch.randn(8, 5), torch.randn(6, 8)),
        lambda: kernels.embedding(ids, ids),
        lambda: kernels.ba_plus_caa(x, 1, 2),
    ):
        with pytest.raises(ValueError, match=r"fit|want|given|allowed"):
            call()


def test_function_and_reference_share_their_signature():
    for name in kernels.NAMES:
        function, own = getattr(kernels, name), reference(name)
        assert list(inspect.signature(function).parameters) == list(
            inspect.signature(own).parameters
        )
    assert set(kernels.backends()) == set(kernels.NAMES)


def test_use_sets_and_restores():
    with kernels.use("torch"):
        assert kernels.choice() == "torch"
    assert kernels.choice() == "auto"
    with pytest.raises(ValueError, match="'cuda'"):
        kernels.use("cuda")
