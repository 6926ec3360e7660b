"""What stands in the exchange's place of published networks: the contract, and the formulas in slow loops."""

import pytest
import torch
from torch import Tensor

from retrain.refinements import REFINEMENTS, Refinement
from tests.support import naive

TASKS = ("a", "b", "c")
CHANNELS = 6

pytestmark = pytest.mark.usefixtures("double")
every = pytest.mark.parametrize("name", REFINEMENTS)


def make(name: str, tasks: tuple[str, ...] = TASKS, seed: int = 0) -> Refinement:
    return REFINEMENTS[name](tasks, CHANNELS, seed)


def draw(size: tuple[int, int] = (5, 7), grad: bool = False) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {task: torch.randn(2, CHANNELS, *size, generator=generator).requires_grad_(grad) for task in TASKS}


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@every
@pytest.mark.parametrize("size", [(5, 7), (1, 2), (9, 12)], ids=str)
def test_shapes_and_gradients(name, size):
    module, features = make(name).train(), draw(size, grad=True)
    naive.randomise(module)
    refined = module(features)
    assert list(refined) == list(TASKS)
    loss = sum((maps * torch.randn_like(maps)).sum() for maps in refined.values())
    loss.backward()
    for task, maps in features.items():
        assert refined[task].shape == maps.shape and refined[task].isfinite().all()
        assert maps.grad is not None and maps.grad.isfinite().all()
    for key, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key


@every
def test_the_order_of_tasks_changes_nothing(name):
    module, other = make(name), make(name, TASKS[::-1])
    assert module.state_dict().keys() == other.state_dict().keys()
    for key, value in other.state_dict().items():
        assert torch.equal(value, module.state_dict()[key]), key
    for task, maps in other.eval()(draw()).items():
        close(maps, module.eval()(draw())[task])


@every
def test_initial_weights_follow_from_the_seed(name):
    before = torch.get_rng_state()
    first, second, third = make(name), make(name), make(name, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values()))
    drawn = [value for value in first.state_dict().values() if value.numel() > 1 and value.std() > 0.02]
    other = [value for value in third.state_dict().values() if value.numel() > 1 and value.std() > 0.02]
    assert name in ("cross_stitch", "nddr") or not any(torch.equal(a, b) for a, b in zip(drawn, other))


def weights(module: Refinement) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def bn(maps: Tensor, w: dict[str, Tensor], at: str) -> Tensor:
    return naive.norm(maps, w, at, False)


def by_formula(name: str, w: dict[str, Tensor], f: dict[str, Tensor], t: str) -> Tensor:
    """Refined features of task t in eval mode."""
    others = [s for s in TASKS if s != t]
    if name == "cross_stitch":
        return sum(w[f"mix.{t}.{s}.weight"].view(-1, 1, 1) * f[s] for s in TASKS)
    if name in ("nddr", "padnet_a"):
        return naive.relu(bn(sum(naive.conv(f[s], w[f"mix.{t}.{s}.weight"]) for s in TASKS), w, f"norm.{t}."))
    if name in ("padnet_b", "padnet_c"):
        total = f[t]
        for s in others:
            at = f"messages.{t}.{s}"
            if name == "padnet_b":
                total = total + naive.relu(bn(naive.conv(f[s], w[f"{at}.0.weight"]), w, f"{at}.1."))
            else:
                gate = naive.sigmoid(naive.conv(f[s], w[f"{at}.gate.weight"]))
                total = total + naive.conv(f[s], w[f"{at}.conv.weight"]) * gate
        return naive.relu(bn(naive.conv(total, w[f"close.{t}.0.weight"]), w, f"close.{t}.1."))
    if name == "self_attention":
        gates = {s: naive.sigmoid(naive.conv(f[s], w[f"attention.{s}.gate.weight"])) for s in others}
        return f[t] + sum(naive.conv(f[s], w[f"attention.{s}.conv.weight"]) * gates[s] for s in others)
    mixing = naive.softmax(torch.stack([w[f"mixture.{t}.logits.{s}"] for s in TASKS]))
    if name == "psd":
        return psd(w, f, t, mixing)
    assert name == "pap"
    return pap(w, f, t, mixing)


def cosine(x: Tensor, y: Tensor) -> Tensor:
    return x @ y / max(x.norm(), torch.tensor(1e-12)) / max(y.norm(), torch.tensor(1e-12))


def affinities(maps: Tensor, window: int | None) -> Tensor:
    """(d, h, w) -> (L, L): cosines, of pixels in the window alone, rows that sum to one."""
    count, width = maps.shape[1] * maps.shape[2], maps.shape[2]
    pixels = maps.flatten(1)
    out = torch.zeros(count, count)
    for i in range(count):
        for j in range(count):
            apart = max(abs(i // width - j // width), abs(i % width - j % width))
            if window is None or apart <= window // 2:
                out[i, j] = cosine(pixels[:, i], pixels[:, j])
        out[i] /= max(out[i].sum(), torch.tensor(1e-12))
    return out


def spread(own: Tensor, similarity: Tensor, steps: int) -> Tensor:
    state = own
    for _ in range(steps):
        state = 0.05 * torch.einsum("ij,cj->ci", similarity, state) + 0.95 * own
    return state


def pap(w, f, t, mixing):
    size = f[t].shape[2:]
    small = {s: torch.nn.functional.avg_pool2d(f[s], 2, ceil_mode=True) for s in TASKS}
    own = naive.conv(small[t], w[f"value.{t}.weight"])
    out = torch.zeros_like(own)
    for b in range(len(own)):
        compared = {s: naive.relu(naive.conv(small[s], w[f"compare.{s}.weight"]))[b] for s in TASKS}
        mixed = sum(m * affinities(compared[s], None) for m, s in zip(mixing, TASKS))
        out[b] = spread(own[b].flatten(1), mixed, 3).view_as(own[b])
    out = naive.relu(bn(naive.conv(out, w[f"out.{t}.0.weight"]), w, f"out.{t}.1."))
    return f[t] + torch.nn.functional.interpolate(out, size=size, mode="bilinear")


def psd(w, f, t, mixing):
    def projected(name: str, task: str) -> Tensor:
        return naive.relu(bn(naive.conv(f[task], w[f"{name}.{task}.0.weight"]), w, f"{name}.{task}.1."))

    own = projected("value", t)
    out = torch.zeros_like(own)
    for b in range(len(own)):
        mixed = sum(m * affinities(projected("compare", s)[b], 9) for m, s in zip(mixing, TASKS))
        out[b] = spread(own[b].flatten(1), mixed, 2).view_as(own[b])
    return naive.relu(bn(naive.conv(out, w[f"out.{t}.0.weight"]), w, f"out.{t}.1."))


@every
def test_formula(name):
    module, features = make(name).eval(), draw((3, 7))
    naive.randomise(module)
    refined = module(features)
    for task in TASKS:
        close(refined[task], by_formula(name, weights(module), features, task))


def test_initial_mixtures():
    """Cross-stitch and NDDR start as 0.9 of the task's own features and 0.1 of the others'."""
    features = draw()
    for task, maps in make("cross_stitch")(features).items():
        close(maps, 0.9 * features[task] + 0.1 * sum(features[s] for s in TASKS if s != task))
    nddr = make("nddr").eval()
    mixed = 0.9 * features["a"] + 0.1 * (features["b"] + features["c"])
    close(nddr(features)["a"], naive.relu(mixed / (1 + 1e-5) ** 0.5))
