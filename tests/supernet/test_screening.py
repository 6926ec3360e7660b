"""Which candidates the second fold measures, against effects whose truth is known."""

import torch

from search_spaces import SearchSpace
from supernet.score_test.effects import Effect, FoldLosses, Ratio, effects, probes_for, training_variance
from supernet.score_test.probes import ORDINARY, Probe, probes_of
from supernet.score_test.screening import contenders, remaining_probes
from supernet.score_test.worth import Posterior

SPACE = SearchSpace(("a", "b", "c"), ("none", "global", "local", "padnet_gate"))
WORTH = 0.5


def measured(special, error=0.1):
    """Effects of all candidates: 0, but for some."""
    found = {}
    for pair in SPACE.pairs:
        for block in SPACE.legal(pair):
            if block != "none":
                found[pair, block] = Effect(special.get((pair, block), 0.0), error)
    return Posterior(found, WORTH)


def test_what_cannot_be_chosen_is_left_out():
    """A clear winner, one within worth of it, one far behind, and one that is not worth it."""
    ab, bc = ("a", "b"), ("b", "c")
    posterior = measured({(ab, "padnet_gate"): 5.0, (ab, "local"): 4.7, (ab, "global"): 2.0, (bc, "global"): 0.1})
    assert set(contenders(posterior)) == {(ab, "padnet_gate"), (ab, "local")}


def test_what_is_not_known_stays():
    ab = ("a", "b")
    posterior = measured({(ab, "padnet_gate"): 1.0, (ab, "global"): 0.8}, error=0.6)
    assert {(ab, "padnet_gate"), (ab, "global")} <= set(contenders(posterior))
    assert contenders(measured({}, error=0.05)) == []


def test_candidates_bring_their_controls():
    probes = probes_of(SPACE)
    kept = remaining_probes([(("a", "b"), "global"), (("c", "c"), "local")], probes)
    expected = {
        Probe("a", "b", "global"), Probe("a", None, "global"), Probe("c", None, "local"), Probe("c", None, ORDINARY),
    }  # fmt: skip
    assert set(kept) == expected and list(kept) == [probe for probe in probes if probe in expected]


def test_effects_of_one_fold_are_less_sure():
    draw = torch.Generator().manual_seed(0)
    probes, count = probes_of(SPACE), 200

    def fold(kept):
        found = {}
        for target in {probe.target for probe in kept}:
            own = tuple(probe for probe in kept if probe.target == target)
            found[target] = FoldLosses(
                own, 1 + 0.1 * torch.rand(1 + len(own), count, generator=draw), torch.arange(count)
            )
        return found

    once, twice = (("a", "b"), "global"), (("a", "c"), "local")
    first, second = fold(probes), fold(probes_for(*twice))
    alone, both = effects(SPACE, [first]), effects(SPACE, [first, second])
    assert set(both) == set(alone) and both[once].value == alone[once].value
    assert both[twice].value != alone[twice].value and both[twice].error < both[once].error
    # nothing to compare: another training is taken to differ as much as other images
    assert training_variance([[Ratio(1.0, torch.ones(1))], [Ratio(2.0, torch.ones(1))]]) is None
    other = (("b", "c"), "local")
    assert both[other] == alone[other]
