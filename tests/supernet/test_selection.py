import math

import pytest
import torch

from experiment.config import GumbelSettings, SearchSettings
from search_spaces import SPACES, SearchSpace
from supernet.selection import OPEN, Selection, linear_schedule
from supernet.strategies.gumbel import GumbelCallback
from supernet.summary import collapse_warning
from tests.support.supernets import current_choice, gumbel_supernet

TASKS = ("semseg", "depth", "normals")


@pytest.fixture
def space():
    return SearchSpace(TASKS, SPACES["full"], name="full")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_schedules_of_the_published_search():
    sampler = gumbel_supernet(SearchSpace(TASKS, SPACES["atrc"]), 4, generator()).sampler
    search = GumbelCallback(sampler, GumbelSettings(), SearchSettings(), 40000)
    for step, temperature, weight in ((0, 1.0, -0.02), (10000, 0.7625, 0.0), (40000, 0.05, 0.06)):
        search.before_step(step)
        assert search.sampler.temperature == pytest.approx(temperature)
        assert search.entropy_weight == pytest.approx(weight, abs=1e-12)
    assert linear_schedule(1, 2, 99, 10) == 2


def test_entropy_is_that_of_the_legal_candidates(space):
    selection = Selection(space)
    counts = [len(space.legal(pair)) for pair in space.pairs]
    assert selection.entropies().tolist() == pytest.approx([math.log(n) for n in counts])
    assert selection.entropies(normalize=True).tolist() == pytest.approx([1.0] * len(counts))
    with torch.no_grad():
        selection.logits.normal_(generator=generator())
    for i, pair in enumerate(space.pairs):
        legal = [space.blocks.index(name) for name in space.legal(pair)]
        odds = [math.exp(x) for x in selection.logits[i, legal].tolist()]
        p = [o / sum(odds) for o in odds]
        assert selection.entropies()[i].item() == pytest.approx(-sum(x * math.log(x) for x in p), rel=1e-5)
        assert selection.probabilities()[i, legal].tolist() == pytest.approx(p, rel=1e-5)


def test_gradient_of_the_entropy_is_finite_with_fixed_and_illegal_entries(space):
    selection = Selection(space)
    selection.fixed[0] = 1
    selection.entropies().mean().backward()
    assert torch.isfinite(selection.logits.grad).all()
    assert selection.logits.grad[0].abs().sum() == 0


def test_sample_frequencies_follow_the_softmax(space):
    """The Gumbel-max property: the largest weight falls on a block with the probability softmax(logits)."""
    selection = Selection(space)
    with torch.no_grad():
        selection.logits.normal_(generator=generator(1))
    draw, draws = generator(2), 4000
    counts = torch.zeros_like(selection.logits)
    for _ in range(draws):
        weights = selection.sample(0.5, draw)
        assert torch.allclose(weights.sum(1), torch.ones(len(weights)), atol=1e-5)
        assert not weights[~selection.legal].any()
        counts += weights == weights.max(1, keepdim=True).values
    assert (counts / draws - selection.probabilities()).abs().max() < 4 * 0.5 / draws**0.5


def test_low_temperature_gives_almost_one_hot(space):
    selection = Selection(space)
    hot = torch.stack([selection.sample(0.05, generator(i)).max(1).values for i in range(50)])
    cool = torch.stack([selection.sample(5.0, generator(i)).max(1).values for i in range(50)])
    assert hot.mean() > 0.9 > 0.5 > cool.mean()


def test_a_pair_is_fixed_at_the_gap_and_stays(space):
    selection = Selection(space)
    pair = space.pairs.index(("semseg", "depth"))
    n = len(space.legal(("semseg", "depth")))
    # a logit x above the rest gives the gap (e^x - 1) / (e^x + n - 1)
    at_gap = math.log((1 + 0.3 * (n - 1)) / (1 - 0.3))
    for logit, fixed in ((at_gap - 1e-3, OPEN), (at_gap + 1e-3, 2)):
        with torch.no_grad():
            selection.logits[pair, 2] = logit
        selection.fix_decided(0.3)
        assert selection.fixed[pair] == fixed
    with torch.no_grad():
        selection.logits[pair] = torch.tensor([9.0, 0, 0, 0, 0, 0, 0])
    selection.fix_decided(0.3)
    assert selection.fixed[pair] == 2 and selection.choices()[pair] == 2
    assert selection.sample(1.0, generator())[pair].tolist() == [0, 0, 1, 0, 0, 0, 0]
    assert selection.entropies()[pair] == 0
    assert current_choice(selection).exchanges["semseg", "depth"] == space.blocks[2]


def test_argmax_ignores_illegal_logits(space):
    selection = Selection(space)
    with torch.no_grad():
        selection.logits[:, space.blocks.index("xtam")] = 5
        selection.logits[:, space.blocks.index("local")] = 1
    exchanges = current_choice(selection).exchanges
    assert {exchanges[t, t] for t in TASKS} == {"local"}
    assert {name for (t, s), name in exchanges.items() if t != s} == {"xtam"}


def test_only_the_decided_candidate_stays_active(space):
    selection = Selection(space)
    selection.fixed[1] = space.blocks.index("local")
    selection.refresh()
    active = selection.active(everything=True)
    assert [name for name, pairs in active.items() if 1 in pairs] == ["local"]
    assert all(0 in active[name] for name in space.legal(space.pairs[0]))
    assert selection.undecided() == len(space.pairs) - 1
    alone = selection.active(everything=False)
    assert sorted(i for pairs in alone.values() for i in pairs) == list(range(len(space.pairs)))


def test_checkpoint_with_fixed_pairs_loads_into_a_fresh_selection(space):
    selection = Selection(space)
    selection.fixed[3] = 1
    fresh = Selection(space)
    fresh.load_state_dict(selection.state_dict())
    assert fresh.fixed.tolist() == selection.fixed.tolist() and not fresh.fixed.is_floating_point()


def test_a_pair_with_one_legal_block_is_decided_from_the_start():
    selection = Selection(SearchSpace(("semseg", "depth"), ("none", "xtam")))
    assert (selection.fixed == OPEN).tolist() == [False, True, True, False]
    assert selection.undecided() == 2


def test_decided_pairs_leave_the_supernets_output_as_it_was(space):
    torch.manual_seed(0)
    supernet = gumbel_supernet(space, 8, generator())
    features = {t: torch.randn(2, 8, 6, 7) for t in TASKS}
    regions = {t: torch.randn(2, 4, 6, 7) for t in TASKS}
    with torch.no_grad():
        for parameter in supernet.exchange.aggregator.parameters():
            parameter.add_(0.1)  # the aggregator's last norm starts at zero and would hide everything
        supernet.sampler.selection.fixed[:5] = 1
        everything = supernet.exchange(features, regions, None, supernet.sampler.selection.sample(1.0, generator(5)))
        supernet.sampler.selection.refresh()
        supernet.sampler.generator.manual_seed(5)
        fewer = supernet(features, regions)
    for task in TASKS:
        assert torch.allclose(everything[task], fewer[task], atol=1e-5)


def test_collapse_is_reported():
    selection = Selection(SearchSpace(TASKS, SPACES["full"]))
    assert "every pair chose none" in collapse_warning(current_choice(selection))
    with torch.no_grad():
        selection.logits[:, selection.space.blocks.index("xtam")] = 1
    assert "every pair of different tasks chose xtam" in collapse_warning(current_choice(selection))
    with torch.no_grad():
        selection.logits[1, selection.space.blocks.index("global")] = 2
    assert collapse_warning(current_choice(selection)) == ""
