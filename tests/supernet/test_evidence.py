"""What the supernet's evidence measures, and the posterior that follows from it."""

import pytest
import torch

from search_spaces import Exchange, SearchSpace
from supernet.samplers.uniform_mixture import UniformMixture, all_candidates
from supernet.score_test.evidence import Evidence, HeldOut, Moments, collect, pool, probe_exchanges
from supernet.score_test.posterior import (
    average,
    empirical_bayes_update,
    infer_posterior,
    posterior_log_odds,
    probabilities_of_being_best,
    sign_flip_z,
    training_variance,
)

TASKS = ("a", "b", "c")
CHANNELS, SIZE, COUNT = 8, 6, 6


@pytest.fixture
def exchange():
    torch.manual_seed(0)
    space = SearchSpace(TASKS, ("none", "global", "s_label", "padnet_gate"), normalize_messages=True)
    exchange = Exchange(space, CHANNELS).eval()
    for fuse in exchange.aggregator.fuse.values():
        torch.nn.init.ones_(fuse[1].weight)  # otherwise no message has an influence before training
    return exchange


@pytest.fixture
def batch():
    draw = torch.Generator().manual_seed(1)
    features = {t: torch.randn(COUNT, CHANNELS, SIZE, SIZE, generator=draw) for t in TASKS}
    regions = {t: torch.randn(COUNT, 3, SIZE, SIZE, generator=draw) for t in TASKS}
    return HeldOut(features, regions, lambda refined: {t: (x**3).cos().mean((1, 2, 3)) for t, x in refined.items()})


def test_evidence_follows_its_definition(exchange, batch):
    """One pair, one group: a hand-written pass with this pair's messages replaced by their mean over images."""
    open = all_candidates(exchange.plan)
    pair = ("a", "b")
    i, name = exchange.pairs.index(pair), "global"
    found = collect(exchange, [batch], open)[pair]
    assert found.candidates == ("global", "s_label", "padnet_gate")
    (moments,) = found.parts
    assert moments.cross.shape == (COUNT, CHANNELS, 3, CHANNELS // 2) and moments.images == COUNT

    messages = exchange.messages(batch.features, batch.regions)
    sent = messages[name][1][:, messages[name][0].index(i)].clone()
    for on, message in messages.values():
        if i in on:
            message.data[:, on.index(i)] = message[:, on.index(i)].mean(0, keepdim=True)
    weights = open / open.sum(1, keepdim=True)
    refined = {t: x.detach().requires_grad_() for t, x in exchange.mix(batch.features, messages, weights).items()}
    batch.losses(refined)["a"].sum().backward()
    sent = (sent - sent.mean(0, keepdim=True)).detach()
    # what a least-squares fit on the refined features leaves of the messages
    covariates = (
        torch.cat([refined["a"].detach(), torch.ones_like(sent[:, :1])], 1).transpose(0, 1).flatten(1).T.double()
    )
    rows = sent.transpose(0, 1).flatten(1).T.double()
    left = rows - covariates @ torch.linalg.lstsq(covariates, rows).solution
    left = left.T.unflatten(1, (COUNT, SIZE, SIZE)).transpose(0, 1)
    expected = -torch.einsum("bchw,bdhw->bcd", refined["a"].grad.double(), left)
    torch.testing.assert_close(moments.cross[:, :, 0].double(), expected, rtol=1e-3, atol=1e-6)
    square = torch.einsum("bdhw,behw->de", left, left)
    torch.testing.assert_close(moments.square[0].double(), square, rtol=1e-3, atol=1e-3)


def test_evidence_on_every_pair_with_open_candidates(exchange, batch):
    open = all_candidates(exchange.plan)
    open[exchange.pairs.index(("a", "c"))] = False
    found = collect(exchange, [batch, batch], open)
    assert list(found) == [pair for pair in exchange.pairs if pair != ("a", "c")]
    assert found["b", "b"].candidates == ("global",)  # the others are not defined on a task's own features
    own = found["a", "b"]
    assert own.agreement().shape == (3, 2 * COUNT, 2 * COUNT) and own.gains()[0].shape == (3, 2 * COUNT)


def test_probe_exchanges_stand_beside_the_trained_one(exchange, batch):
    open = all_candidates(exchange.plan)
    probes = probe_exchanges(exchange.plan, CHANNELS)
    alone, beside = (collect(exchange, [batch], open, more)["a", "b"].parts[0] for more in ((), probes))
    width = CHANNELS // 2
    assert beside.cross.shape[3] == 3 * width  # two more, which hold all channels of the source
    torch.testing.assert_close(beside.cross[..., :width], alone.cross)


@pytest.mark.parametrize("block", ["global", "local", "s_label"])
def test_a_context_probe_sends_even_sums_of_the_source(batch, block):
    """Its messages are linear in sums of source features with positive weights, so all channels can be read back."""
    torch.manual_seed(0)
    probes = probe_exchanges(SearchSpace(("a", "b"), ("none", block)), CHANNELS)
    features = {t: batch.features[t] for t in ("a", "b")}
    regions = {t: batch.regions[t] for t in ("a", "b")}
    open = {block: [0, 1, 2, 3]}

    def send(features):
        return [one.messages(HeldOut(features, regions, None), open)[block] for one in probes]

    sent = torch.cat([messages[:, on.index(1)] for on, messages in send(features)], 1)  # of the pair a <- b
    twice = {**features, "b": 2 * features["b"] + 3}  # norms take scale and shift away: nothing was cut by a ReLU
    tolerance = {"rtol": 1e-2, "atol": 2e-2}
    if block == "local":
        torch.testing.assert_close(torch.cat([m[:, on.index(1)] for on, m in send(twice)], 1), sent, **tolerance)
        near = torch.nn.functional.avg_pool2d(features["b"], 9, stride=1, padding=4)
        rows = sent.transpose(0, 1).flatten(1).T
        rows = torch.cat([rows, torch.ones(len(rows), 1)], 1)
        wanted = near.transpose(0, 1).flatten(1).T
        left = wanted - rows @ torch.linalg.lstsq(rows, wanted).solution
        assert left.var() < 0.01 * wanted.var()
    else:  # of the whole image: alike at all pixels
        assert sent.std((2, 3)).max() < 0.05 * sent.std()
    changed = {**features, "a": features["a"].flip(0)}
    torch.testing.assert_close(torch.cat([m[:, on.index(1)] for on, m in send(changed)], 1), sent)  # nothing of a's


def test_messages_of_the_source_alone_are_computed_once(exchange, batch):
    """All targets of a source get the same message, except where the target's regions are read."""
    torch.manual_seed(0)
    space = SearchSpace(TASKS, ("none", "t_label", "local", "xtam", "padnet_gate"))
    (first, _) = probe_exchanges(space, CHANNELS)
    active = {name: list(range(len(space.pairs))) for name in space.blocks if name != "none"}
    messages = first.messages(batch, active)
    assert first.source_only == {"local", "xtam", "padnet_gate"}
    for name, (on, message) in messages.items():
        assert on == first.exchange.served[name]
        of_c = [message[:, on.index(space.pairs.index((target, "c")))] for target in ("a", "b")]
        assert torch.equal(*of_c) == (name != "t_label")
    whole = first.exchange.messages(batch.features, batch.regions, None, active)
    torch.testing.assert_close(messages["t_label"][1], whole["t_label"][1])


def moments(strengths, seed, groups=32, pixels=200, channels=3, width=4):
    """Where the first message channel of candidate k predicts the negative gradient with slope `strengths[k]`."""
    draw = torch.Generator().manual_seed(seed)
    messages = torch.randn(groups, pixels, len(strengths), width, generator=draw)
    gradient = torch.randn(groups, pixels, channels, generator=draw)
    gradient[:, :, 0] += (messages[..., 0] * torch.tensor(strengths)).sum(2)
    cross = torch.einsum("fpc,fpkd->fckd", gradient, messages)
    return Moments(cross, torch.einsum("fpkd,fpke->kde", messages, messages), 1024 if groups > 1 else 1)


def evidence(strengths, seed):
    return Evidence(("cheap", "dear", "other")[: len(strengths)], (moments(strengths, seed),))


def test_the_posterior_separates_clear_doubtful_and_empty_pairs():
    empty = {("empty", str(i)): evidence((0.0, 0.0), 2 + i) for i in range(12)}
    pairs = {("a", "clear"): evidence((0.0, 0.3), 0), ("a", "alike"): evidence((0.3, 0.3), 1), **empty}
    posteriors = infer_posterior(pairs, {"cheap": 1.0, "dear": 2.0})
    clear, alike = posteriors["a", "clear"], posteriors["a", "alike"]
    assert clear.choice == "dear" and clear.decided and clear.margin > 0.5
    assert alike.p_exchange > 0.99 and not alike.decided  # either may be the best
    assert sum(posteriors[pair].choice != "none" for pair in empty) <= 1
    assert all(0 <= one.p_correct <= 1 for one in posteriors.values())


def test_z_is_standard_normal_without_an_effect():
    z = torch.cat([sign_flip_z(moments((0.0,), seed).agreement()) for seed in range(300)])
    assert abs(float(z.mean())) < 0.2 and 0.85 < float(z.std()) < 1.15


def test_two_supernets_know_more_than_one():
    strengths = (0.05, 0.0)
    parts = [{("a", "b"): evidence(strengths, seed)} for seed in (0, 1)]
    joined = pool(parts)["a", "b"]
    one, other = (sign_flip_z(part["a", "b"].agreement())[0] for part in parts)
    assert sign_flip_z(joined.agreement())[0] > max(one, other) > 1


def test_two_supernets_show_how_much_a_training_matters():
    draw = torch.Generator().manual_seed(0)
    for moved in (0.0, 1.0, 3.0):  # in standard errors, which the groups' own halves understate by TWICE
        pairs = []
        for _ in range(400):
            shift = moved * 2**0.5 / 32**0.5 * torch.randn(2, 5, 1, generator=draw)
            pairs.append([1 + torch.randn(5, 32, generator=draw) * 2**0.5 + one * 2**0.5 for one in shift])
        # the groups meet once each here, so that half of the variance that is expected is missing
        assert training_variance(pairs) == pytest.approx(max(0, 0.5 + moved**2 - 1), abs=0.25)
    assert training_variance([[torch.zeros(3, 32)]]) > 0  # one supernet shows no difference


def test_the_average_over_supernets_has_half_the_variance():
    draw = torch.Generator().manual_seed(0)
    gains = [torch.randn(3, 2000, generator=draw) for _ in range(2)]
    mean, covariance = average(gains)
    torch.testing.assert_close(mean, torch.stack([one.double().mean(1) for one in gains]).mean(0))
    assert covariance.diagonal().tolist() == pytest.approx([2 / 2000 / 2] * 3, rel=0.1)


def test_few_images_can_neither_show_nor_rule_out():
    z = torch.full((16, 3), -1.0)
    many, few = (posterior_log_odds(z, images).sigmoid() for images in (4096, 64))
    assert many.max() < 0.2 < few.min()


def test_random_parts_of_the_mixture(exchange):
    mixture = UniformMixture(exchange.plan, torch.Generator().manual_seed(0), pair_dropout=0.2)
    weights = torch.stack([mixture.draw().weights for _ in range(2000)])
    total = weights.sum(2)
    assert ((total - 1).abs().minimum(total) < 1e-6).all()  # left out, or adding up to one
    assert ((total > 0).float().mean(0) - 0.8).abs().max() < 0.05
    assert not weights[:, ~mixture.candidates].any()
    drawn = mixture.draw()
    for name, pairs in drawn.active.items():
        column = exchange.block_names.index(name)
        assert pairs == drawn.weights[:, column].nonzero().flatten().tolist()


def test_many_pairs_with_an_effect_make_a_weak_one_likelier():
    weak = 1.8
    among_empty = posterior_log_odds(torch.tensor([weak, *torch.linspace(-1.5, 1.5, 11)])[:, None])
    among_strong = posterior_log_odds(torch.tensor([weak, *torch.linspace(3, 9, 11)])[:, None])
    assert among_empty[0] < 0 < among_strong[0]
    odds = posterior_log_odds(torch.linspace(-2, 6, 20)[:, None])
    assert (odds.diff() > 0).all()


def test_a_block_that_others_need_is_likelier():
    best = torch.tensor([[0.1, 0.9]] * 5 + [[0.5, 0.5], [0.5, 0.5]]).double()
    learned = empirical_bayes_update(best, torch.tensor([1.0] * 6 + [0.0]).double())
    assert (learned[:5, 1] > 0.95).all() and learned[5, 1] > 0.75
    torch.testing.assert_close(learned.sum(1), torch.ones(7).double())
    # pairs without an effect carry no information
    torch.testing.assert_close(empirical_bayes_update(best, torch.zeros(7).double()), best)


def test_chances_of_being_best_follow_the_normal_distribution():
    """Of two candidates with independent groups: Phi of the difference over its standard error."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 64, generator=draw, dtype=torch.double)
    noise -= noise.mean(1, keepdim=True)
    one = noise[0] / noise[0].std()
    other = noise[1] - one * (noise[1] @ one) / (one @ one)
    gains = [torch.stack([one + 0.3, other / other.std()])]
    for training in (0.0, 3.0):
        error = (2 * (1 + training) * 2 / 64) ** 0.5  # two candidates, each group counted TWICE
        expected = float(torch.special.ndtr(torch.tensor(0.3 / error)))
        assert float(probabilities_of_being_best(gains, training)[0]) == pytest.approx(expected, abs=0.03)


def test_a_single_image_decides_nothing():
    found = infer_posterior(
        {("a", str(i)): Evidence(("cheap", "dear"), (moments((0.3, 0.0), i, groups=1),)) for i in range(4)}
    )
    assert not any(one.decided for one in found.values())
