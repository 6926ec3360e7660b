"""Effects against a bootstrap and naive sums; shrinkage against numerical integration and simulated truths."""

import math

import pytest
import torch

from search_spaces import SearchSpace
from supernet.cost.budget import Budget
from supernet.records.costs import Costs
from supernet.score_test.effects import (
    Effect,
    FoldLosses,
    Ratio,
    block_variance,
    effects,
    mean_effect,
    ratio,
    training_variance,
)
from supernet.score_test.probes import ORDINARY, Probe, probes_of
from supernet.score_test.shrinkage import shrink_effects
from supernet.score_test.worth import Posterior, choose
from supernet.search_split import group_numbers, whole

SPACE = SearchSpace(("a", "b"), ("none", "global", "xtam"))
AB = ("a", "b")


def test_the_ratio_and_its_error_are_those_of_a_bootstrap_over_groups():
    draw = torch.Generator().manual_seed(0)
    groups = torch.arange(400) // 5
    common = torch.randn(80, generator=draw)[groups]  # images of a group are alike
    base = 2 + 0.3 * torch.randn(400, generator=draw)
    saved = 0.1 + 0.2 * common + 0.1 * torch.randn(400, generator=draw)
    found = ratio(saved, base, groups)
    assert found.value == pytest.approx(100 * float(saved.sum() / base.sum()), rel=1e-6)
    by_group = torch.stack([saved, base]).view(2, 80, 5).sum(2)
    picks = torch.randint(80, (4000, 80), generator=draw)
    again = by_group[:, picks].sum(2)
    assert found.variance**0.5 == pytest.approx(100 * float((again[0] / again[1]).std()), rel=0.05)


def fold(losses: dict[Probe, list[float]], base: list[float]) -> FoldLosses:
    table = torch.tensor([base, *losses.values()])
    return FoldLosses(tuple(losses), table, torch.arange(len(base)))


def test_an_effect_is_what_the_probe_saves_beyond_its_control():
    own = {p: [0.9, 1.8] for p in probes_of(SPACE) if p.target == "a" and p.source is None}
    own[Probe("a", None, ORDINARY)] = [1.0, 1.9]
    losses = {**own, Probe("a", "b", "global"): [0.8, 1.6], Probe("a", "b", "xtam"): [0.9, 1.8]}
    b = {p: [1.0, 1.0] for p in probes_of(SPACE) if p.target == "b"}
    one = {"a": fold(losses, [1.0, 2.0]), "b": fold(b, [1.0, 1.0])}
    found = effects(SPACE, [one, one])
    assert found[AB, "global"].value == pytest.approx(100 * 0.3 / 3, rel=1e-5)
    assert found[AB, "xtam"].value == pytest.approx(0, abs=1e-5)
    # a block on the task's own features, beyond an ordinary convolution
    assert found[("a", "a"), "global"].value == pytest.approx(100 * 0.2 / 3, rel=1e-5)
    assert (("a", "a"), "xtam") not in found
    assert all(effect.value == 0 for (pair, _), effect in found.items() if pair[0] == "b")


def test_the_training_variance_is_what_folds_differ_by_beyond_their_images():
    draw = torch.Generator().manual_seed(0)
    truth = torch.randn(3000, generator=draw)
    values = truth + 0.7 * torch.randn(2, 3000, generator=draw) + 0.4 * torch.randn(2, 3000, generator=draw)
    sampling = torch.tensor([0.4])
    measured = [[Ratio(float(one), sampling) for one in pair] for pair in values.T]
    assert training_variance(measured) == pytest.approx(0.49, rel=0.08)
    assert training_variance([[Ratio(0.0, torch.ones(1)), Ratio(0.1, torch.ones(1))]]) == 0


def test_errors_that_blocks_of_a_pair_have_in_common_do_not_blur_which_is_better():
    """Simulated folds: common and own deviations of images, and of trainings."""
    draw = torch.Generator().manual_seed(0)

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=draw, dtype=torch.double)

    pairs, blocks, groups = 600, 3, 50
    common, own = normal(pairs, 1, 2, groups), normal(pairs, blocks, 2, groups)
    images = (0.3 * common + 0.1 * own) / groups**0.5
    trained = 0.5 * normal(pairs, 1, 2) + 0.2 * normal(pairs, blocks, 2)
    values = images.sum(3) + trained
    measured = [
        [[Ratio(float(values[p, k, f]), images[p, k, f]) for f in (0, 1)] for k in (0, 1, 2)] for p in range(pairs)
    ]
    training = training_variance([ratios for of_pair in measured for ratios in of_pair])
    assert training == pytest.approx(0.5**2 + 0.2**2, rel=0.1)
    assert block_variance(measured, training) == pytest.approx(0.2**2, rel=0.1)
    assert block_variance([[ratios] for ratios in measured[0]], training) == training
    # the mean over both folds of two blocks' difference, and of each block
    of_pair = [mean_effect(dict(enumerate(ratios)), training, 0.5**2) for ratios in measured[0]]
    variance = of_pair[0].error ** 2 + of_pair[1].error ** 2 - 2 * of_pair[0].covariance(of_pair[1])
    means = values.mean(2)
    assert variance == pytest.approx(float((means[:, 0] - means[:, 1]).var()), rel=0.25)
    assert of_pair[0].error ** 2 == pytest.approx(float(means[:, 0].var()), rel=0.25)


def test_the_draws_of_a_pair_are_correlated_as_its_errors_are():
    one, part = 0.5, {0: torch.tensor([0.4], dtype=torch.double)}
    alike = {(AB, block): Effect(value, one, part) for block, value in (("global", 4.0), ("xtam", 4.4))}
    independent = {key: Effect(effect.value, effect.error) for key, effect in alike.items()}
    spread = {}
    for name, measured in (("alike", alike), ("independent", independent)):
        drawn = Posterior(measured, 0.5)
        spread[name] = float((drawn.draws[:, 0] / drawn.draws[:, 1]).log().std())
    unlike = math.hypot(0.12 * 2**0.5, one / 4.2 * 2**0.5)
    assert spread["independent"] == pytest.approx(unlike, rel=0.06)
    assert spread["alike"] == pytest.approx(math.hypot(0.12 * 2**0.5, one / 4.2 * (2 * (1 - 0.64)) ** 0.5), rel=0.06)


def test_shrinkage_agrees_with_numerical_integration():
    values = [-1.0, 0.2, 0.1, -0.3, 3.0, 5.0, 0.0, 0.4]
    errors = [0.5, 0.4, 0.3, 0.6, 0.5, 1.0, 0.2, 0.4]
    posterior = shrink_effects(values, errors)
    count = posterior.mean.shape[1]
    theta = torch.linspace(-30, 30, 600001, dtype=torch.double)
    for i in range(len(values)):
        density = torch.zeros_like(theta)
        for k in range(count):
            mean, spread = posterior.mean[i, k], posterior.spread[i, k]
            normal = torch.exp(-((theta - mean) ** 2) / (2 * spread**2)) / (spread * math.sqrt(2 * math.pi))
            for part, side in ((1 + k, theta > 0), (1 + count + k, theta < 0)):
                inside = normal * side
                mass = torch.trapezoid(inside, theta)
                if mass > 1e-12:
                    density += posterior.weights[i, part] * inside / mass
        assert float(posterior.above(0.5)[i]) == pytest.approx(
            float(torch.trapezoid(density * (theta > 0.5), theta)), abs=2e-3
        )
        assert float(posterior.expectation()[i]) == pytest.approx(
            float(torch.trapezoid(density * theta, theta)), abs=3e-3
        )
    drawn = posterior.sample(20000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), posterior.expectation(), atol=0.03, rtol=0.03)
    torch.testing.assert_close((drawn > 0.5).double().mean(0), posterior.above(0.5), atol=0.015, rtol=0)


def test_the_posterior_probability_is_calibrated_on_simulated_effects():
    draw = torch.Generator().manual_seed(0)
    stated, true = [], []
    for _ in range(60):
        effect = torch.where(torch.rand(60, generator=draw) < 0.3, 2 * torch.randn(60, generator=draw).abs(), 0.0)
        error = 0.2 + 0.4 * torch.rand(60, generator=draw)
        measured = effect + error * torch.randn(60, generator=draw)
        stated.append(shrink_effects(measured.tolist(), error.tolist()).above(0.5))
        true.append(effect > 0.5)
    probability, right = torch.cat(stated), torch.cat(true)
    for low, high in ((0.0, 0.1), (0.1, 0.4), (0.4, 0.7), (0.7, 0.9), (0.9, 1.0)):
        inside = (probability >= low) & (probability <= high)
        assert float(probability[inside].mean()) == pytest.approx(float(right[inside].double().mean()), abs=0.08)


def test_without_effects_nothing_is_called_worth_it():
    draw = torch.Generator().manual_seed(0)
    called = 0
    for _ in range(50):
        posterior = shrink_effects((0.5 * torch.randn(45, generator=draw)).tolist(), [0.5] * 45)
        called += int((posterior.above(0.5) >= 0.8).any())
    assert called <= 3


COST = {"global": 1.0, "xtam": 5.0}


def posterior(ab_global: float, ab_xtam: float, error: float = 0.1) -> Posterior:
    """Of the pair a <- b; all others have no effect."""
    measured = {(pair, block): Effect(0.0, error) for pair in SPACE.pairs for block in SPACE.legal(pair)[1:]}
    measured[AB, "global"], measured[AB, "xtam"] = Effect(ab_global, error), Effect(ab_xtam, error)
    return Posterior(measured, worth=0.5)


def chosen(posterior: Posterior, budget: Budget | None = None) -> dict[tuple[str, str], str]:
    return {pair: c.block for pair, c in choose(posterior, SPACE, 0.8, COST, budget).items()}


@pytest.mark.parametrize(
    ("measured", "block"),
    [
        ((5.0, 0.0), "global"),
        ((0.0, 5.0), "xtam"),
        ((4.8, 5.0), "global"),  # as good and cheaper
        ((4.4, 5.0), "global"),  # not surely worse once retrained
        ((3.5, 5.0), "xtam"),
        ((0.15, 0.15), "none"),  # an effect, but not worth it
        ((-5.0, -5.0), "none"),
    ],
)
def test_the_choice_follows_the_effects(measured: tuple[float, float], block: str):
    choices = chosen(posterior(*measured))
    assert choices.pop(AB) == block
    assert set(choices.values()) == {"none"}


def test_retraining_multiplies_an_effect_and_the_blocks_of_a_pair_alike():
    """Measured almost without error, so that only the factors are left: log-normal, of a pair and of each block."""
    one = posterior(4.0, 0.4, error=1e-3)
    spread = math.hypot(0.3, 0.12)
    low, high = (1.8 * 4 * math.exp(spread * z) for z in (-1.96, 1.96))
    effect = one.of_pair(AB)["global"]
    mean = 1.8 * 4 * math.exp(spread**2 / 2)
    assert (effect.effect, effect.low, effect.high) == pytest.approx((mean, low, high), rel=0.05)
    strong, weak = one.draws_of([(AB, "global"), (AB, "xtam")]).T
    assert float(strong.mean()) == pytest.approx(mean, rel=0.02)
    beyond = torch.special.ndtr(torch.tensor(math.log(1.8 * 0.4 / 0.5) / spread))
    assert one.of_pair(AB)["xtam"].probability == pytest.approx(float(beyond), abs=0.02)
    assert float((strong / weak).log().std()) == pytest.approx(0.12 * 2**0.5, rel=0.05)
    less, more = (AB, "xtam"), (AB, "global")
    assert float(one.worse([less], more)) > 0.99 and float(one.worse([more], less)) < 0.01


def test_an_unsure_pair_is_undecided_and_gets_none():
    choices = choose(posterior(1.0, 1.0, error=1.5), SPACE, 0.8, COST, None)
    assert {choice.block for choice in choices.values()} == {"none"}
    wide = choose(posterior(6.0, 0.0, error=3.0), SPACE, 0.8, COST, None)[AB]
    assert wide.block == "none" and wide.probability is not None and not wide.decided


def test_a_budget_keeps_the_most_valuable_choice():
    rows = {pair: {name: COST.get(name, 0.0) for name in SPACE.legal(pair)} for pair in SPACE.pairs}
    budget = Budget(SPACE, Costs(rows), 2.0)
    assert chosen(posterior(3.0, 5.0), budget)[AB] == "global"
    choice = choose(posterior(3.0, 5.0), SPACE, 0.8, COST, budget)[AB]
    assert choice.effect == pytest.approx(3.0 * 1.8 * math.exp((0.3**2 + 0.12**2) / 2), rel=0.05)


def test_the_probabilities_of_a_pair_add_up():
    one = posterior(3.0, 3.1)
    shares = dict(zip(SPACE.blocks, one.probabilities(AB, SPACE.blocks), strict=True))
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["none"] < 0.01 and 0.5 < shares["xtam"] < 0.95


def ar1(rows: int, images: int, correlation: float, draw: torch.Generator) -> torch.Tensor:
    """Unit variance; neighbouring images are alike."""
    fresh = torch.randn(rows, images, generator=draw)
    series = fresh.clone()
    for i in range(1, images):
        series[:, i] = correlation * series[:, i - 1] + (1 - correlation**2) ** 0.5 * fresh[:, i]
    return series


def test_neighbouring_images_that_are_alike_are_no_evidence():
    """Frames of a video without a group's name: the units are stretches of neighbours, and noise holds no exchange."""
    space = SearchSpace(("a", "b", "c"), ("none", "global", "local", "t_label", "s_label", "xtam", "padnet_gate"))
    images, exchanges, pairs = 200, 0, 0
    numbers = group_numbers(whole([None] * images))  # type: ignore[arg-type]
    assert len(numbers.unique()) == 8
    for seed in range(8):
        draw = torch.Generator().manual_seed(seed)
        folds = []
        for _ in range(2):
            fold = {}
            for target in space.tasks:
                own = tuple(probe for probe in probes_of(space) if probe.target == target)
                base = 1 + 0.3 * ar1(1, images, 0.5, draw)
                fold[target] = FoldLosses(
                    own, torch.cat([base, base + 0.08 * ar1(len(own), images, 0.5, draw)]), numbers
                )
            folds.append(fold)
        chosen = choose(Posterior(effects(space, folds), 0.1), space, 0.8, {}, None)
        exchanges += sum(choice.block != "none" for choice in chosen.values())
        pairs += len(chosen)
    assert exchanges <= 0.1 * pairs


def test_every_gain_may_count():
    posterior = Posterior({(AB, "global"): Effect(5.0, 0.1), (AB, "xtam"): Effect(2.0, 0.1)}, 0.0)
    assert choose(posterior, SPACE, 0.8, {"global": 2.0, "xtam": 1.0}, None)[AB].block == "global"
