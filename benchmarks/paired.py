"""How much common random numbers sharpen a comparison: the spread of the difference of two models over seeds.

Paired: both models from the same seed. Unpaired: from different seeds, all combinations. The score is 100 times the
mean logarithm of the primary metrics on the test split, so that differences are about points of Delta_m.

python -m benchmarks.paired runs/none runs/global
"""

import argparse
import itertools
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from analysis.measures.runs import ModelRun, read_model
from multitask.metrics.delta_m import log_score


def scores(run: ModelRun) -> dict[str, float]:
    """{seed's folder: score}"""
    found = {}
    for seed in run.seeds:
        higher = {task: primary.higher_is_better for task, primary in seed.tasks.items()}
        found[seed.folder.name] = 100 * log_score({t: primary.value for t, primary in seed.tasks.items()}, higher)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs=2, metavar="MODEL_DIR", help="retrain runs of the same seeds")
    one, other = (scores(read_model(folder)) for folder in parser.parse_args(argv).models)
    seeds = [name for name in one if name in other]
    if len(seeds) < 3:
        raise SystemExit(f"error: the runs share {len(seeds)} finished seeds: expected 3 or more")
    paired = [other[seed] - one[seed] for seed in seeds]
    # the variance of a difference of independent runs, by all combinations of different seeds
    unpaired = [other[b] - one[a] for a, b in itertools.permutations(seeds, 2)]
    mean = statistics.fmean(paired)
    spread = math.sqrt(statistics.fmean((value - mean) ** 2 for value in unpaired))
    for seed, value in zip(seeds, paired):
        print(f"{seed}: {one[seed]:+.2f}  {other[seed]:+.2f}  difference {value:+.2f}")
    print(f"mean difference {mean:+.2f}; standard deviation over {len(seeds)} seeds:")
    print(f"  paired {statistics.stdev(paired):.2f}, unpaired {spread:.2f}")


if __name__ == "__main__":
    main()
