"""What the supernet's evidence measures, and how the judge reads it."""

import pytest
import torch

from search_spaces import Exchange, SearchSpace
from supernet.evidence import Evidence, HeldOut, Moments, collect, together
from supernet.judge import as_good_as_best, beyond_control, judge, sign_z, telling_odds
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
    return HeldOut(features, regions, lambda refined: {t: (x**3).cos().mean((1, 2, 3)) for t, x in refined.items()})


def test_evidence_follows_its_definition(exchange, batch):
    """One pair, one group: a hand-written pass with this pair's messages replaced by their mean over images."""
    open = Mixture.everything(exchange.plan)
    pair = ("a", "b")
    i, name = exchange.pairs.index(pair), "global"
    found = collect(exchange, [batch], open)[pair]
    assert found.candidates == ("global", "s_label", "padnet_gate")
    assert found.moments.cross.shape == (COUNT, CHANNELS, 3, CHANNELS // 2)

    messages = exchange.messages(batch.features, batch.regions)
    told = messages[name][1][:, messages[name][0].index(i)].clone()
    for on, message in messages.values():
        if i in on:
            message.data[:, on.index(i)] = message[:, on.index(i)].mean(0, keepdim=True)
    weights = open / open.sum(1, keepdim=True)
    refined = {t: x.detach().requires_grad_() for t, x in exchange.mix(batch.features, messages, weights).items()}
    batch.losses(refined)["a"].sum().backward()
    told = (told - told.mean(0, keepdim=True)).detach()
    # what a least-squares fit on the refined features leaves of the messages
    known = torch.cat([refined["a"].detach(), torch.ones_like(told[:, :1])], 1).transpose(0, 1).flatten(1).T.double()
    rows = told.transpose(0, 1).flatten(1).T.double()
    left = rows - known @ torch.linalg.lstsq(known, rows).solution
    left = left.T.unflatten(1, (COUNT, SIZE, SIZE)).transpose(0, 1)
    expected = -torch.einsum("bchw,bdhw->bcd", refined["a"].grad.double(), left)
    torch.testing.assert_close(found.moments.cross[:, :, 0], expected, rtol=1e-3, atol=1e-6)
    square = torch.einsum("bdhw,behw->de", left, left)
    torch.testing.assert_close(found.moments.square[0], square, rtol=1e-3, atol=1e-3)


def test_evidence_on_every_pair_with_open_candidates(exchange, batch):
    open = Mixture.everything(exchange.plan)
    open[exchange.pairs.index(("a", "c"))] = False
    found = collect(exchange, [batch, batch], open)
    assert list(found) == [pair for pair in exchange.pairs if pair != ("a", "c")]
    assert found["b", "b"].candidates == ("global",)  # the others are not defined on a task's own features
    own = found["a", "b"].moments
    assert own.agreement().shape == (3, 2 * COUNT, 2 * COUNT) and own.gains().shape == (3, 2 * COUNT)
    assert found["b", "b"].control is None and found["a", "b"].control is not None


def test_control_hears_the_sources_of_other_images(exchange, batch):
    """It does not see in which order the source's images stand, but for the turn by one."""
    open = Mixture.everything(exchange.plan)
    turned = {t: x.roll(1, 0) if t == "b" else x for t, x in batch.features.items()}
    regions = {t: x.roll(1, 0) if t == "b" else x for t, x in batch.regions.items()}
    own = collect(exchange, [HeldOut(turned, regions, batch.losses)], open)["a", "b"].moments
    control = collect(exchange, [batch], open)["a", "b"].control
    # nearly, since what the silenced pair says on average is another image's too
    torch.testing.assert_close(control.square, own.square, rtol=2e-3, atol=1e-3)
    assert not torch.allclose(control.square, collect(exchange, [batch], open)["a", "b"].moments.square)


def test_untrained_exchanges_speak_beside_the_trained_one(exchange, batch):
    open = Mixture.everything(exchange.plan)
    fresh = [Exchange(exchange.plan, CHANNELS) for _ in range(2)]
    alone, beside = (collect(exchange, [batch], open, more)["a", "b"].moments for more in ((), fresh))
    width = CHANNELS // 2
    assert beside.cross.shape[3] == 3 * width
    torch.testing.assert_close(beside.cross[..., :width], alone.cross)


def moments(told, seed, groups=32, pixels=200, channels=3, width=4):
    """Where the first message channel of candidate k explains `told[k]` of what the target lacks."""
    draw = torch.Generator().manual_seed(seed)
    messages = torch.randn(groups, pixels, len(told), width, generator=draw)
    lacking = torch.randn(groups, pixels, channels, generator=draw)
    lacking[:, :, 0] += (messages[..., 0] * torch.tensor(told)).sum(2)
    cross = torch.einsum("fpc,fpkd->fckd", lacking, messages)
    return Moments(cross, torch.einsum("fpkd,fpke->kde", messages, messages))


def evidence(told, seed):
    return Evidence(("cheap", "dear", "other")[: len(told)], moments(told, seed))


def test_the_judge_tells_clear_doubtful_and_empty_pairs():
    empty = {("empty", str(i)): evidence((0.0, 0.0), 2 + i) for i in range(12)}
    pairs = {("a", "clear"): evidence((0.0, 0.3), 0), ("a", "alike"): evidence((0.3, 0.3), 1), **empty}
    verdicts = judge(pairs, {"cheap": 1.0, "dear": 2.0})
    clear, alike = verdicts["a", "clear"], verdicts["a", "alike"]
    assert clear.choice == "dear" and clear.decided and clear.margin > 0.5
    assert alike.something > 0.99 and not alike.decided  # which of the two is best cannot be told
    assert sum(verdicts[pair].choice != "none" for pair in empty) <= 1
    assert all(0 <= one.sureness <= 1 for one in verdicts.values())


def test_nothing_told_has_a_standard_normal_z():
    z = torch.cat([sign_z(moments((0.0,), seed).agreement()) for seed in range(300)])
    assert abs(float(z.mean())) < 0.2 and 0.85 < float(z.std()) < 1.15


def test_two_supernets_know_more_than_one():
    told = (0.05, 0.0)
    parts = [{("a", "b"): evidence(told, seed)} for seed in (0, 1)]
    joined = together(parts)["a", "b"].moments
    one, other = (sign_z(part["a", "b"].moments.agreement())[0] for part in parts)
    assert sign_z(joined.agreement())[0] > max(one, other) > 1


def test_what_a_block_tells_of_the_target_itself_counts_for_nothing():
    """All controls at 3, spread by 2 more than chance: own z that are alike say nothing."""
    draw = torch.Generator().manual_seed(0)
    share = 3 + 2 * torch.randn(4000, 1, generator=draw)
    control, z = (share + torch.randn(4000, 1, generator=draw) for _ in range(2))
    beyond = beyond_control(z, control)
    assert abs(float(beyond.mean())) < 0.05 and abs(float(beyond.std()) - 1) < 0.05
    unknown = torch.full_like(control, torch.nan)
    assert torch.equal(beyond_control(z, unknown), z)


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
    weak = 1.8
    among_empty, _ = telling_odds(torch.tensor([weak, *torch.linspace(-1.5, 1.5, 11)])[:, None])
    among_telling, _ = telling_odds(torch.tensor([weak, *torch.linspace(3, 9, 11)])[:, None])
    assert among_empty[0] < 0 < among_telling[0]
    odds, _ = telling_odds(torch.linspace(-2, 6, 20)[:, None])
    assert (odds.diff() > 0).all()


def test_a_block_that_others_need_is_likelier():
    z = torch.zeros(6, 2)
    z[:5, 1] = 6
    z[5] = 2
    _, shares = telling_odds(z)
    assert shares[1] > 2 * shares[0]
    gains = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    even, known = (as_good_as_best(gains, s) for s in (torch.tensor([0.5, 0.5]), shares))
    assert known[1] > even[1]
