"""Records of a search: what is written is read again."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supernet.records.choices import Choice, read_choices, write_choices
from supernet.records.costs import Cost, CostTable
from supernet.records.effects import MeasuredEffect, read_effects, write_effects
from supernet.records.samples import Sample, read_samples, write_samples
from supernet.records.trials import TrialRecord, read_trials, write_trials

few = settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
PAIRS = [(target, source) for target in ("a", "b c") for source in ("a", "b c")]
blocks = st.sampled_from(["none", "global", 'my.module:Block,"x"'])
numbers = st.floats(-1e6, 1e6)
written = st.integers(-(10**7), 10**7).map(lambda k: k / 1e4)  # four places
shares = st.integers(0, 10**4).map(lambda k: k / 1e4)


@st.composite
def choices(draw):
    block, shared, decided = draw(blocks), draw(st.none() | shares), draw(st.booleans())
    low, effect, high = sorted(draw(st.lists(written, min_size=3, max_size=3)))
    return Choice(block, shared, decided, *draw(st.sampled_from([(), (effect, (low, high))])))


@few
@given(st.tuples(*[choices()] * 4))
def test_choices(tmp_path, found):
    expected = dict(zip(PAIRS, found))
    write_choices(tmp_path / "a.csv", expected)
    assert read_choices(tmp_path / "a.csv") == expected


costs = st.builds(Cost, st.integers(0, 2**62), st.integers(0, 2**62), numbers)


@few
@given(costs, costs, st.lists(costs, min_size=4, max_size=4))
def test_costs(tmp_path, base, overhead, rows):
    overheads = dict.fromkeys((target for target, _ in PAIRS), overhead)
    table = CostTable(base, overheads, {pair: {"none": Cost(), "global": row} for pair, row in zip(PAIRS, rows)})
    table.write(tmp_path / "a.csv")
    assert CostTable.read(tmp_path / "a.csv") == table


@few
@given(st.lists(st.tuples(numbers, numbers, st.tuples(*[blocks] * 4)), min_size=1, max_size=4))
def test_samples(tmp_path, rows):
    samples = [Sample(k, score, dict(zip(PAIRS, row)), {"cost": cost}) for k, (score, cost, row) in enumerate(rows)]
    write_samples(tmp_path / "a.csv", samples)
    assert read_samples(tmp_path / "a.csv", ("cost",), PAIRS) == samples


states = st.sampled_from(["complete", "pruned"])


@few
@given(st.lists(st.tuples(states, st.none() | st.integers(-999, 999), st.integers(1, 99))))
def test_trials(tmp_path, rows):
    trials = [TrialRecord(k, state, k, value, {"a": 1.0, "b": n / 8}) for k, (state, value, n) in enumerate(rows)]
    write_trials(tmp_path / "a.csv", trials, ["a", "b"])
    assert read_trials(tmp_path / "a.csv") == trials


@few
@given(
    st.lists(st.tuples(written, written.map(abs), written, st.tuples(written, written), shares), min_size=1, max_size=4)
)
def test_effects(tmp_path, rows):
    expected = {
        (pair, "global"): MeasuredEffect(measured, error, effect, *sorted(interval), probability)
        for pair, (measured, error, effect, interval, probability) in zip(PAIRS, rows)
    }
    write_effects(tmp_path / "a.csv", expected)
    assert read_effects(tmp_path / "a.csv") == expected
