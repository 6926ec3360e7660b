"""Recomputing, single paths and the estimate of a step's memory."""

import copy
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from benchmarks.measure import peak
from experiment.config import DataSettings
from multitask.data import Batch
from multitask.network import MultiTaskNetwork, shrink
from multitask.tasks import build_tasks
from multitask.training.step_cost import Counted, task_losses
from search_spaces import SearchSpace, SpaceError
from search_spaces.space import SPACES
from supernet.cost import memory
from supernet.cost.memory import PROCESS, Conditions, describe, remedies_of, search_memory, settle
from supernet.samplers.uniform_mixture import all_candidates
from supernet.score_test.evidence import Collection, HeldOut, probe_exchanges
from supernet.score_test.held_out import held_out_size, image_losses
from supernet.score_test.memory import held_out_memory
from supernet.supernet import Supernet
from tests.support import naive as reference
from tests.support.networks import small_network
from tests.support.supernets import gumbel_supernet

TASKS = ("semseg", "depth", "edge")
CHANNELS, BATCH, SIZE = 8, 2, (9, 11)


def draw(dtype: torch.dtype = torch.float64) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    features = {t: torch.randn(BATCH, CHANNELS, *SIZE, generator=generator, dtype=dtype) for t in TASKS}
    counts = (5, 4, 2)
    regions = {t: torch.randn(BATCH, n, *SIZE, generator=generator, dtype=dtype) for t, n in zip(TASKS, counts)}
    return features, regions


def outcome(module: nn.Module, *arguments: object) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Outputs, and the gradients of a fixed functional of them."""
    module.zero_grad()
    outputs = module(*arguments)
    sum((maps * (i + 1)).cos().sum() for i, maps in enumerate(outputs.values())).backward()
    gradients = {k: p.grad.clone() for k, p in module.named_parameters() if p.grad is not None}
    return {k: v.detach() for k, v in outputs.items()}, gradients


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float = 1e-10) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(
            value, other[name], rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


def supernet(**options: object) -> Supernet:
    torch.manual_seed(0)
    net = gumbel_supernet(SearchSpace(TASKS, SPACES["full"]), CHANNELS, torch.Generator().manual_seed(3), **options)
    reference.randomise(net.exchange)
    return net.double()


def test_recomputing_changes_nothing():
    whole, lean = supernet(), supernet(recompute=SPACES["full"][1:])
    features, regions = draw()
    for _ in range(2):
        ours, theirs = outcome(whole, features, regions), outcome(lean, features, regions)
        assert_same(ours[0], theirs[0])
        assert_same(ours[1], theirs[1])
    # the statistics of batch norms too, which a second forward pass would count twice
    assert_same(whole.state_dict(), lean.state_dict())


def test_recomputing_keeps_less():
    tasks = build_tasks(["semseg", "depth"], DataSettings(), 13)
    space = SearchSpace(tuple(tasks), SPACES["full"])
    needs = []
    for blocks in ((), SPACES["full"][1:]):
        exchange = gumbel_supernet(space, 16, recompute=blocks)
        network = MultiTaskNetwork(small_network(channels=16), tasks, exchange, space.tasks)
        needs.append(search_memory(network, Conditions(2, 64, 64)))
    assert needs[1] < 0.8 * needs[0]


def test_recompute_of_an_unknown_block():
    with pytest.raises(SpaceError, match=r"xtan.*xtam"):
        supernet(recompute=["xtan"])


def test_single_path_is_the_drawn_architecture():
    net = supernet(single_path=True)
    state = net.sampler.generator.get_state()
    features, regions = draw()
    refined = net(features, regions)
    net.sampler.generator.set_state(state)
    soft = net.sampler.selection.sample(net.sampler.temperature, net.sampler.generator)
    weights, active = net.sampler.selection.single_path(soft)
    assert [sum(i in on for on in active.values()) for i in range(len(net.sampler.selection.space.pairs))] == [1] * 9
    one_hot = torch.zeros_like(soft).scatter(1, soft.argmax(1, keepdim=True), 1)
    torch.testing.assert_close(weights.detach(), one_hot)
    assert_same(refined, net.exchange(features, regions, None, one_hot.double(), active))


def test_single_path_has_the_soft_weights_gradient():
    net = supernet(single_path=True)
    state = net.sampler.generator.get_state()
    features, regions = draw()
    gradients = outcome(net, features, regions)[1]
    net.sampler.generator.set_state(state)
    soft = net.sampler.selection.sample(net.sampler.temperature, net.sampler.generator)
    index = soft.argmax(1)
    # d loss / d logits = sum over pairs of (d loss / d weight of the drawn block) times the softmax's Jacobian
    weights = torch.zeros_like(soft).scatter(1, index[:, None], 1).double().requires_grad_()
    outputs = net.exchange(features, regions, None, weights, net.sampler.selection.single_path(soft)[1])
    loss = sum((maps * (i + 1)).cos().sum() for i, maps in enumerate(outputs.values()))
    (slope,) = torch.autograd.grad(loss, weights)
    expected = torch.zeros_like(net.sampler.selection.logits)
    for i, k in enumerate(index.tolist()):
        p = soft[i].detach()
        expected[i] = slope[i, k] * p[k] * (torch.eye(len(p))[k] - p) / net.sampler.temperature
    torch.testing.assert_close(gradients["sampler.selection.logits"], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").is_file(), reason="peak memory is measured through /proc")
@pytest.mark.parametrize("sampling", ["mixture", "single_path"])
def test_estimated_memory_is_about_what_is_measured(sampling):
    tasks = build_tasks(["semseg", "depth", "edge"], DataSettings(), 13)
    space = SearchSpace(tuple(tasks), SPACES["atrc"])
    exchange = gumbel_supernet(space, 32, single_path=sampling == "single_path")
    network = MultiTaskNetwork(small_network(channels=32), tasks, exchange, space.tasks).train()
    before = copy.deepcopy(network.state_dict())
    need = search_memory(network, Conditions(8, 128, 160, moments=0))
    assert_same(before, network.state_dict(), 0)
    assert network.exchange is exchange
    image, loss = torch.randn(8, 3, 128, 160), task_losses(tasks)

    def step() -> None:
        outputs = network(image)
        loss(outputs).backward()
        network.zero_grad(set_to_none=True)

    measured = peak(step, torch.device("cpu"))
    state = sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))
    assert 0.7 < (need - state) / measured < 1.3


def test_the_estimate_for_held_out_images_is_what_their_computation_holds():
    """Against two batches that are computed with real values, by which all sums are there."""
    tasks = build_tasks(["semseg", "depth"], DataSettings(), 13)
    space = SearchSpace(tuple(tasks), ("none", "global", "t_label"))
    network = MultiTaskNetwork(small_network(), tasks, gumbel_supernet(space, 8), space.tasks).eval()
    candidates, conditions, size = all_candidates(space), Conditions(4, 32, 48), held_out_size(4)
    probes = probe_exchanges(space, 8)
    draw = torch.Generator().manual_seed(0)
    image = torch.randn(size, 3, 32, 48, generator=draw)
    valid = torch.ones(size, 1, 32, 48, dtype=torch.bool)
    labels = {name: torch.ones(size, task.label_channels, 32, 48) for name, task in tasks.items()}
    batch = Batch(image, valid, labels, dict.fromkeys(tasks, valid))
    weights = [*network.parameters(), *network.buffers()]
    given = [image, valid, *labels.values(), *(weight for one in probes for weight in one.exchange.parameters())]
    with Counted([*weights, *given]) as counted:
        collection = Collection(network.exchange.exchange, candidates, probes)
        for first in (0, size):
            with torch.no_grad():
                features, regions = network.features(image)
            losses = partial(image_losses, network, tasks, batch, None)
            collection.add(HeldOut(features, regions, losses, shrink(valid, features)), first)
    trained = sum(parameter.nbytes for parameter in network.parameters())
    held = sum(tensor.nbytes for tensor in (*weights, *given)) + 3 * trained + counted.peak
    was = torch.are_deterministic_algorithms_enabled()
    for deterministic in (False, True):  # as commands ask for
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        try:
            assert held_out_memory(network, space, candidates, conditions) == pytest.approx(held, rel=0.03)
        finally:
            torch.use_deterministic_algorithms(was, warn_only=True)


@pytest.fixture
def counted(monkeypatch):
    """A supernet whose step takes 100 bytes and 10 an image: less in bf16, by one path, and where it recomputes."""

    def needs(network, conditions, recompute=None, active=None):
        recompute = network.exchange.exchange.recompute if recompute is None else recompute
        each = {0: 10, 2: 7, 3: 5}[len(recompute)] * (0.6 if conditions.precision == "bf16" else 1)
        return int(100 + each * conditions.batch_size * (0.5 if active == "one path" else 1))

    def largest(network, conditions, single_path=None):
        assert not looked or single_path  # found once
        looked.append(single_path)
        return needs(network, conditions), "one path" if single_path else "all"

    looked = []
    monkeypatch.setattr(memory, "search_memory", needs)
    monkeypatch.setattr(memory, "largest_path", largest)
    tasks = build_tasks(["semseg", "depth"], DataSettings(), 13)
    space = SearchSpace(tuple(tasks), ("none", "global", "local", "xtam"))
    return lambda *recompute: MultiTaskNetwork(small_network(), tasks, gumbel_supernet(space, 8, recompute=recompute))


def test_what_does_not_fit_says_what_would(counted):
    conditions = Conditions(10, 64, 96)
    assert remedies_of(counted(), conditions, 200, 160) == [
        "--training.batch_size 6",
        "--precision bf16",
        "--search.recompute '[global, local, xtam]'",
        "--search.strategy gumbel --search.gumbel.sampling single_path",
    ]
    assert remedies_of(counted(), conditions, 200, 175)[2] == "--search.recompute '[local, xtam]'"
    assert not remedies_of(counted(), conditions, 200, 105)
    line = describe(200, 160, "a step", "cuda", ["--precision bf16"])
    assert line.startswith("warning: a step needs") and line.endswith("each of these alone fits: --precision bf16")
    assert describe(16 * 10**8, 2 * 10**9, "a step", "cuda") == "a step needs about 1.6 GB of 2.0 GB free"


def test_freed_memory_is_given_back_where_memory_is_short_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(memory, "give_back", lambda: asked.append(1) or True)
    need, process = 10**9, PROCESS["cpu"]
    assert "needs about 1.1 GB of 2.1 GB free (on a CPU, up to twice" in describe(
        need, 2 * (need + process), "a step", "cpu"
    )
    assert not asked
    assert "(within 15 %: freed memory is given back" in describe(need, 2 * (need + process) - 1, "a step", "cpu")
    assert asked
    assert not describe(need, need + process, "a step", "cpu").startswith("warning")
    assert describe(need, need + process - 1, "a step", "cpu").startswith("warning")
    monkeypatch.setattr(memory, "give_back", lambda: False)  # another C library, or a limit in the environment
    assert "up to twice" in describe(need, need, "a step", "cpu")


@pytest.mark.parametrize(
    "free, blocks", [(230, ()), (200, ("local", "xtam")), (180, ("global", "local", "xtam")), (10**6, ())]
)
def test_automatic_recomputation_takes_as_little_as_fits(monkeypatch, counted, free, blocks):
    monkeypatch.setattr(memory, "free_memory", lambda device: free)
    monkeypatch.setattr(memory, "PROCESS", {})
    monkeypatch.setattr(memory, "give_back", lambda: True)
    network = counted("auto")
    line = settle(network, Conditions(10, 64, 96), torch.device("cpu"))
    assert network.exchange.exchange.recompute == blocks
    assert ("recomputing" in line) == bool(blocks)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_step_does_not_wait_for_the_gpu():
    tasks = build_tasks(["semseg", "depth", "edge"], DataSettings(), 13)
    space = SearchSpace(tuple(tasks), SPACES["full"])
    exchange = gumbel_supernet(space, 16)
    network = MultiTaskNetwork(small_network(channels=16), tasks, exchange, space.tasks).cuda().train()
    image = torch.randn(2, 3, 64, 64, device="cuda")
    for mode in ("default", "error"):  # the first step fills the caches
        torch.cuda.set_sync_debug_mode(mode)
        try:
            outputs = network(image)
            torch.stack([m.square().mean() for m in outputs.predictions.values()]).sum().backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
