"""Seeds of named parts."""

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from experiment.seeds import derive_seed

SEEDS = st.integers(0, 2**63 - 1)
NAMES = st.lists(st.text(), min_size=1, max_size=3)


@given(SEEDS, NAMES)
def test_it_fits_every_generator_and_repeats(seed, names):
    assert 0 <= derive_seed(seed, *names) < 2**63
    assert derive_seed(seed, *names) == derive_seed(seed, *names)


@given(SEEDS, st.lists(NAMES, min_size=2, max_size=6, unique_by=lambda names: "\0".join(names)))
def test_different_parts_get_different_seeds(seed, parts):
    assert len({derive_seed(seed, *names) for names in parts}) == len(parts)
    assert derive_seed(seed, *parts[0]) != derive_seed(seed ^ 1, *parts[0])


def test_another_process_gets_the_same():
    code = "from experiment.seeds import derive_seed; print(derive_seed(3, 'head', 'depth'))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(printed) == derive_seed(3, "head", "depth")
