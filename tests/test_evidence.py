"""What the supernet's evidence measures, and how the judge reads it."""

import pytest
import torch

from search_spaces import Exchange, SearchSpace
from supernet.evidence import Evidence, HeldOut, collect
from supernet.judge import TWICE, judge, something_probability, t_statistic
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


def test_evidence_follows_its_definition(exchange, batch):
    """One pair, one group: a hand-written pass with this pair's messages replaced by their mean over images."""
    open = Mixture.everything(exchange.plan)
    pair = ("a", "b")
    i, name = exchange.pairs.index(pair), "global"
    found = collect(exchange, [batch], open)[pair]
    assert found.candidates == ("global", "s_label", "padnet_gate")
    assert found.cross.shape == (COUNT, CHANNELS, 3, CHANNELS // 2)

    messages = exchange.messages(batch.features, batch.regions)
    told = messages[name][1][:, messages[name][0].index(i)].clone()
    for on, message in messages.values():
        if i in on:
            message.data[:, on.index(i)] = message[:, on.index(i)].mean(0, keepdim=True)
    weights = open / open.sum(1, keepdim=True)
    refined = {t: x.detach().requires_grad_() for t, x in exchange.mix(batch.features, messages, weights).items()}
    batch.losses(refined)["a"].sum().backward()
    told = (told - told.mean(0, keepdim=True)).detach()
    expected = -torch.einsum("bchw,bdhw->bcd", refined["a"].grad, told)
    torch.testing.assert_close(found.cross[:, :, 0], expected)
    torch.testing.assert_close(found.square[0, :, 0], torch.einsum("bdhw,behw->de", told, told))


def test_evidence_on_every_pair_with_open_candidates(exchange, batch):
    open = Mixture.everything(exchange.plan)
    open[exchange.pairs.index(("a", "c"))] = False
    found = collect(exchange, [batch, batch], open)
    assert list(found) == [pair for pair in exchange.pairs if pair != ("a", "c")]
    assert found["b", "b"].candidates == ("global",)  # the others are not defined on a task's own features
    assert found["a", "b"].whole().shape == (2 * COUNT,) and found["a", "b"].alone().shape == (3, 2 * COUNT)


def moments(told, seed, groups=32, pixels=200, channels=3, width=4):
    """Evidence where the first message channel of candidate k explains `told[k]` of what the target lacks."""
    draw = torch.Generator().manual_seed(seed)
    messages = torch.randn(groups, pixels, len(told), width, generator=draw)
    lacking = torch.randn(groups, pixels, channels, generator=draw)
    lacking[:, :, 0] += (messages[..., 0] * torch.tensor(told)).sum(2)
    names = ("cheap", "dear", "other")[: len(told)]
    cross = torch.einsum("fpc,fpkd->fckd", lacking, messages)
    return Evidence(names, cross, torch.einsum("fpkd,fpje->kdje", messages, messages))


def test_the_judge_tells_clear_doubtful_and_empty_pairs():
    empty = {("empty", str(i)): moments((0.0, 0.0), 2 + i) for i in range(12)}
    pairs = {("a", "clear"): moments((0.0, 0.3), 0), ("a", "alike"): moments((0.3, 0.3), 1), **empty}
    verdicts = judge(pairs, {"cheap": 1.0, "dear": 2.0})
    clear, alike = verdicts["a", "clear"], verdicts["a", "alike"]
    assert clear.choice == "dear" and clear.decided and clear.margin > 0.5
    assert alike.something > 0.99 and min(alike.good.values()) > 0.9
    assert sum(verdicts[pair].choice != "none" for pair in empty) <= 1
    assert all(0 <= one.sureness <= 1 for one in verdicts.values())


def test_nothing_told_has_a_standard_normal_z():
    scores = [t_statistic(moments((0.0, 0.0), seed).whole()) / TWICE**0.5 for seed in range(300)]
    z = torch.stack(scores)
    assert abs(float(z.mean())) < 0.2 and 0.85 < float(z.std()) < 1.2


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


def test_many_telling_pairs_make_a_weak_one_likelier():
    weak = 1.5
    among_empty = something_probability(torch.tensor([weak, *torch.linspace(-1.5, 1.5, 11)]))
    among_telling = something_probability(torch.tensor([weak, *torch.linspace(3, 9, 11)]))
    assert among_empty[0] < 0.5 < among_telling[0]
    assert (something_probability(torch.linspace(-2, 6, 20)).diff() > 0).all()
