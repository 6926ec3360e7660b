"""What the supernet's evidence measures, and how the judge reads it."""

import pytest
import torch

from search_spaces import Exchange, SearchSpace
from supernet.evidence import Evidence, HeldOut, Probe, collect, probe_losses
from supernet.judge import judge, something_probability
from supernet.mixture import Mixture

TASKS = ("a", "b", "c")
CHANNELS, SIZE, COUNT = 8, 6, 6


@pytest.fixture
def exchange():
    torch.manual_seed(0)
    space = SearchSpace(TASKS, ("none", "global", "s_label", "padnet_gate"), normalize=True)
    exchange = Exchange(space, CHANNELS).eval()
    for fuse in exchange.aggregator.fuse.values():
        torch.nn.init.ones_(fuse[1].weight)  # otherwise no message is heard before training
    return exchange


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(1)
    features = {t: torch.randn(COUNT, CHANNELS, SIZE, SIZE, generator=draw) for t in TASKS}
    regions = {t: torch.randn(COUNT, 3, SIZE, SIZE, generator=draw) for t in TASKS}
    return HeldOut(features, regions, lambda refined: {t: x.square().mean((1, 2, 3)) for t, x in refined.items()})


def whole(exchange):
    return Mixture(exchange.plan, Mixture.everything(exchange.plan)).whole().weights


def test_a_probe_is_a_forward_pass_with_other_weights(exchange, batch):
    weights = whole(exchange)
    rows = torch.eye(4)
    probes = [Probe(i, row) for i in range(len(exchange.pairs)) for row in (rows[1], 0 * rows[1])]
    found = probe_losses(exchange, [batch, batch], weights, probes)
    assert found.shape == (len(probes), 2 * COUNT)
    for probe, losses in zip(probes, found):
        changed = weights.clone()
        changed[probe.pair] = probe.weights
        expected = batch.losses(exchange(batch.features, batch.regions, weights=changed))
        torch.testing.assert_close(losses[:COUNT], expected[exchange.pairs[probe.pair][0]])


def test_a_shifted_source_is_heard_by_its_target_alone(exchange, batch):
    """With one pair speaking, shifting its source is the same as shifting the source's features everywhere."""
    pair = exchange.pairs.index(("a", "b"))
    weights = torch.zeros(len(exchange.pairs), 4)
    row = torch.tensor([0.0, 0.3, 0.3, 0.4])
    shifted = probe_losses(exchange, [batch], weights, [Probe(pair, row, 2), Probe(pair, row)])
    weights[pair] = row
    features = {**batch.features, "b": batch.features["b"].roll(2, 0)}
    regions = {**batch.regions, "b": batch.regions["b"].roll(2, 0)}
    with torch.no_grad():
        torch.testing.assert_close(shifted[0], batch.losses(exchange(features, regions, weights=weights))["a"])
        torch.testing.assert_close(
            shifted[1], batch.losses(exchange(batch.features, batch.regions, weights=weights))["a"]
        )


def test_evidence_on_every_pair_of_different_tasks(exchange, batch):
    open = Mixture.everything(exchange.plan)
    closed = exchange.pairs.index(("a", "c"))
    open[closed] = False
    found = collect(exchange, [batch], open, shifts=2)
    assert set(found) == {(t, s) for t in TASKS for s in TASKS if t != s} - {("a", "c")}
    one = found["a", "b"]
    assert one.candidates == ("global", "s_label", "padnet_gate")
    assert one.whole.shape == (COUNT,) and one.alone.shape == (3, COUNT)


def test_random_parts_of_the_mixture(exchange):
    mixture = Mixture(exchange.plan, Mixture.everything(exchange.plan), silent=0.2, keep=0.5)
    draw = torch.Generator().manual_seed(0)
    weights = torch.stack([mixture.draw(draw).weights for _ in range(2000)])
    total = weights.sum(2)
    assert ((total - 1).abs().minimum(total) < 1e-6).all()  # silent, or adding up to one
    assert ((total > 0).float().mean(0) - 0.8).abs().max() < 0.05
    assert not weights[:, ~mixture.open].any()
    drawn = mixture.draw(draw)
    for name, pairs in drawn.active.items():
        column = exchange.block_names.index(name)
        assert pairs == drawn.weights[:, column].nonzero().flatten().tolist()


def worths(mean, images=400, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.tensor(mean)[:, None] + torch.randn(len(mean), images, generator=draw)


def test_the_judge_tells_clear_doubtful_and_empty_pairs():
    names = ("cheap", "dear")
    clear = worths([0.0, 1.0])
    alike = worths([1.0, 1.02], seed=1)
    empty = [worths([0.0, 0.0], seed=2 + i) for i in range(8)]
    pairs = [Evidence(("a", "b"), names, alone.mean(0), alone) for alone in (clear, alike, *empty)]
    verdicts = judge(pairs)
    assert verdicts[0].choice == "dear" and verdicts[0].decided and verdicts[0].margin > 0.5
    assert verdicts[1].something > 0.99 and min(verdicts[1].good.values()) > 0.9
    assert sum(one.choice != "none" for one in verdicts[2:]) <= 1
    assert all(0 <= one.sureness <= 1 for one in verdicts)


def test_many_telling_pairs_make_a_weak_one_likelier():
    weak = 1.5
    among_empty = something_probability(torch.tensor([weak, *torch.linspace(-1.5, 1.5, 11)]))
    among_telling = something_probability(torch.tensor([weak, *torch.linspace(3, 9, 11)]))
    assert among_empty[0] < 0.5 < among_telling[0]
    assert (something_probability(torch.linspace(-2, 6, 20)).diff() > 0).all()
