"""NNI's search strategies over a space of named choices. The one module that needs nni, to be imported late.

nni 3.0: Random; RegularizedEvolution (Real et al., AAAI 2019); TPE (Bergstra et al., NeurIPS 2011).
"""

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # nni's remarks about a newer torch, of which nothing here is used
    import nni
    from nni.mutable import Categorical, MutableDict
    from nni.nas.evaluator import FunctionalEvaluator
    from nni.nas.execution import SequentialExecutionEngine
    from nni.nas.space import RawFormatModelSpace
    from nni.nas.strategy import TPE, Random, RegularizedEvolution, Strategy

Choices = dict[str, str]


class _Space(RawFormatModelSpace):
    """Its models are the choices themselves."""

    def executable_model(self) -> Choices:
        return dict(self.sample)


def explore(
    name: str, space: Mapping[str, Sequence[str]], score: Callable[[Choices], float], samples: int, seed: int
) -> None:
    """Requests the score of one sample after another, at most `samples` and none twice; more is better.

    name: random, evolution or tpe; space: {label: its choices}.
    """
    logging.getLogger("nni").setLevel(logging.CRITICAL + 1)  # exceptions arrive all the same

    def report(choices: Choices) -> None:
        nni.report_final_result(score(choices))

    mutables = MutableDict({label: Categorical(choices, label=label) for label, choices in space.items()})
    strategy = _strategy(name, len(space), samples, seed)
    strategy(_Space(mutables, FunctionalEvaluator(report)), SequentialExecutionEngine(samples))


def _strategy(name: str, dimensions: int, samples: int, seed: int) -> Strategy:
    """Defaults are nni's, except where these are made for thousands of samples."""
    if name == "random":
        return Random(seed=seed)
    if name == "evolution":
        population = max(2, samples // 4)
        tournament = max(2, population // 4)
        # one choice in the mean, as published
        return RegularizedEvolution(
            population_size=population, sample_size=tournament, mutation_prob=1 / dimensions, seed=seed
        )
    # with a single sample behind it, nni's TPE fails
    return TPE(optimize_mode="maximize", seed=seed, tpe_args={"n_startup_jobs": max(2, min(20, samples // 3))})
