"""search: the strategy, its settings, and what all strategies share.

The settings of one strategy stand in the group of its name, such as search.gumbel. A strategy reads no other group.
"""

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from experiment.config.checks import at_least, fraction, one_of, plain_values, positive
from experiment.errors import InputError

SAMPLINGS = ("mixture", "single_path")
COSTS = ("multiply_adds", "parameters", "latency")
RESOURCES = ("exact", "bmtas_code")
# keys of the group itself that only some strategies read
READERS = {
    "confidence": ("score", "guided", "evidence"),
    "from": ("score", "guided"),
    "worth": ("score", "guided"),
    "noise_null": ("score", "guided", "evidence", "gumbel", "darts", "gdas"),
    "budget": ("score", "evidence", "gumbel"),
    "record_every": ("guided", "gumbel", "darts", "gdas", "branching"),
}


@dataclass(frozen=True)
class ScoreSettings:
    """Settings of search.strategy score.

    Args:
        held_out_fraction: share of the training images that the network without exchange does not learn from; the
            probes are trained and tested on them.
        iterations: training steps of the probes of each fold; by default a third of training.iterations.
    """

    held_out_fraction: float = 0.5
    iterations: int | None = None

    def __post_init__(self) -> None:
        plain_values("search.score", self)
        fraction("search.score.held_out_fraction", self.held_out_fraction)
        at_least("search.score.iterations", self.iterations, 1)


@dataclass(frozen=True)
class GuidedSettings:
    """Settings of search.strategy guided, beside those of search.score, which it reads too.

    Args:
        learning_rate: Adam's learning rate of the logits.
        temperature_start: Gumbel-softmax temperature at the first step; it falls linearly to the last.
        temperature_end: Gumbel-softmax temperature at the last step.
        entropy_start: weight of the mean pair entropy in the loss at the first step.
        entropy_end: weight of the mean pair entropy at the last step.
    """

    learning_rate: float = 0.02
    temperature_start: float = 1.0
    temperature_end: float = 0.05
    entropy_start: float = 0.0
    entropy_end: float = 0.06

    def __post_init__(self) -> None:
        plain_values("search.guided", self)
        for name in ("temperature_start", "temperature_end", "learning_rate"):
            positive(f"search.guided.{name}", getattr(self, name))


@dataclass(frozen=True)
class EvidenceSettings:
    """Settings of search.strategy evidence.

    Args:
        validation_fraction: share of the training images from which the first of the two supernets learns; the other
            images are its search-validation split. The second supernet exchanges the two parts.
        pair_dropout: probability that a pair is left out of a training step.
    """

    validation_fraction: float = 0.5
    pair_dropout: float = 0.2

    def __post_init__(self) -> None:
        plain_values("search.evidence", self)
        fraction("search.evidence.validation_fraction", self.validation_fraction)
        fraction("search.evidence.pair_dropout", self.pair_dropout)


@dataclass(frozen=True)
class GumbelSettings:
    """Settings of search.strategy gumbel (ATRC).

    Args:
        temperature_start: Gumbel-softmax temperature at the first step; it falls linearly to the last.
        temperature_end: Gumbel-softmax temperature at the last step.
        entropy_start: weight of the mean pair entropy in the loss at the first step; a negative weight rewards entropy.
        entropy_end: weight of the mean pair entropy at the last step.
        learning_rate: Adam's learning rate of the logits.
        fix_gap: a pair is fixed for good once the probabilities of its two likeliest candidates differ by this much.
        normalize_entropy: divide each pair's entropy by the logarithm of its number of candidates (not in ATRC).
        sampling: mixture computes all candidates of a pair and mixes them (ATRC); single_path computes one drawn
            candidate a pair and step, in the memory of a single network.
    """

    temperature_start: float = 1.0
    temperature_end: float = 0.05
    entropy_start: float = -0.02
    entropy_end: float = 0.06
    learning_rate: float = 5e-4
    fix_gap: float = 0.3
    normalize_entropy: bool = False
    sampling: str = "mixture"

    def __post_init__(self) -> None:
        plain_values("search.gumbel", self)
        for name in ("temperature_start", "temperature_end", "learning_rate"):
            positive(f"search.gumbel.{name}", getattr(self, name))
        if not 0 < self.fix_gap <= 1:
            raise InputError(f"search.gumbel.fix_gap is {self.fix_gap}: expected a probability above 0, at most 1")
        one_of("search.gumbel.sampling", self.sampling, SAMPLINGS)


@dataclass(frozen=True)
class DartsSettings:
    """Settings of search.strategy darts (DARTS, first order).

    Args:
        learning_rate: Adam's learning rate of the logits.
        validation_fraction: share of the training images on which the logits are trained and the weights are not.
    """

    learning_rate: float = 5e-4
    validation_fraction: float = 0.5

    def __post_init__(self) -> None:
        plain_values("search.darts", self)
        positive("search.darts.learning_rate", self.learning_rate)
        fraction("search.darts.validation_fraction", self.validation_fraction)


@dataclass(frozen=True)
class GdasSettings:
    """Settings of search.strategy gdas (GDAS).

    Args:
        learning_rate: Adam's learning rate of the logits.
        validation_fraction: share of the training images on which the logits are trained and the weights are not.
        temperature_start: Gumbel-softmax temperature at the first step; it falls linearly to the last.
        temperature_end: Gumbel-softmax temperature at the last step.
    """

    learning_rate: float = 5e-4
    validation_fraction: float = 0.5
    temperature_start: float = 10.0
    temperature_end: float = 0.1

    def __post_init__(self) -> None:
        plain_values("search.gdas", self)
        for name in ("learning_rate", "temperature_start", "temperature_end"):
            positive(f"search.gdas.{name}", getattr(self, name))
        fraction("search.gdas.validation_fraction", self.validation_fraction)


@dataclass(frozen=True)
class SampledSettings:
    """Settings of search.strategy random, evolution or tpe.

    Args:
        samples: number of architectures that are evaluated with the shared weights.
    """

    samples: int = 50


@dataclass(frozen=True)
class BranchingSettings:
    """Settings of search.strategy branching (BMTAS): which units of the encoder tasks share, and no exchange.

    Args:
        learning_rate: Adam's learning rate of the logits.
        weight_decay: of the logits.
        validation_fraction: share of the training images on which the logits are trained and the weights are not.
        warm_up_fraction: share of the steps, the first, in which every task has copies of its own and no logit learns.
        temperature_start: Gumbel-softmax temperature after the warm-up; it falls linearly to the last step.
        temperature_end: Gumbel-softmax temperature at the last step.
        resource_weight: weight of the expected cost of all units, relative to their cost in an encoder that all tasks
            share; it stands in the logits' loss once for every task. The cost is search.cost, multiply_adds or
            parameters.
        resource: exact, or bmtas_code, the recursion of the public code, which over-estimates the cost of three and
            more tasks.
    """

    learning_rate: float = 0.01
    weight_decay: float = 5e-5
    validation_fraction: float = 0.2
    warm_up_fraction: float = 0.05
    temperature_start: float = 5.0
    temperature_end: float = 0.1
    resource_weight: float = 0.24
    resource: str = "exact"

    def __post_init__(self) -> None:
        plain_values("search.branching", self)
        for name in ("learning_rate", "temperature_start", "temperature_end"):
            positive(f"search.branching.{name}", getattr(self, name))
        fraction("search.branching.validation_fraction", self.validation_fraction)
        fraction("search.branching.warm_up_fraction", self.warm_up_fraction)
        for name in ("weight_decay", "resource_weight"):
            at_least(f"search.branching.{name}", getattr(self, name), 0)
        one_of("search.branching.resource", self.resource, RESOURCES)


@dataclass(frozen=True)
class SearchSettings:
    """Architecture search.

    Args:
        strategy: score trains the network without exchange, then measures by probes beside it what each message is
            worth; evidence trains two supernets on a uniform mixture of all candidates and tests on held-out images
            which messages predict the target's negative loss gradient; gumbel is ATRC's single-level search; darts and
            gdas learn the logits on a search-validation split; random, evolution and tpe (they need nni) train every
            candidate equally often and rank sampled architectures with the shared weights; branching chooses no
            exchange but which units of the encoder tasks share (BMTAS);
            package.module:Class is a strategy of your own.
        options: keyword arguments of a strategy of your own.
        noise_null: replace the tasks' signal for the choice by noise of the same size (evidence, gumbel, darts, gdas),
            or sources by those of another image (score, guided).
            What such a search selects, chance selects; it is the reference for other searches.
        from_: a network that was trained without exchange, a retrain run or a checkpoint; by default the search trains
            one (score, guided). Its probes see the validation images, since it may have seen all others.
        worth: the effect from which an exchange is worth its cost, in percent of the target's loss (score, guided).
        confidence: posterior probability from which a pair counts as decided (score, guided, evidence).
        recompute: blocks whose activations are recomputed in the backward pass instead of stored, which changes time
            and memory only. [auto] takes as few as fit into the free memory.
        record_every: steps between rows of selection.csv (gumbel, darts, gdas) or branching.csv; 0 records a hundred
            times.
        cost: unit of the exchange's cost, multiply_adds or parameters (of one image, as in costs.csv) or latency
            (seconds of a forward pass).
        budget: largest cost of the chosen exchange, in that unit (score, evidence, gumbel).
        pareto: number of architectures that NSGA-II evaluates with the shared weights after the search, for the front
            of accuracy against cost; 0 for none.
        recalibration_batches: training batches over which batch statistics are renewed before an architecture is
            evaluated inside the supernet.
        score: settings of the strategy score.
        guided: settings of the strategy guided.
        evidence: settings of the strategy evidence.
        gumbel: settings of the strategy gumbel.
        darts: settings of the strategy darts.
        gdas: settings of the strategy gdas.
        random: settings of the strategy random.
        evolution: settings of the strategy evolution.
        tpe: settings of the strategy tpe.
        branching: settings of the strategy branching.
    """

    strategy: str = "score"
    options: dict[str, Any] = field(default_factory=dict)
    noise_null: bool = False
    from_: str | None = None
    worth: float = 0.5
    confidence: float = 0.8
    recompute: list[str] = field(default_factory=list)
    record_every: int = 0
    cost: str = "multiply_adds"
    budget: float | None = None
    pareto: int = 0
    recalibration_batches: int = 20
    score: ScoreSettings = field(default_factory=ScoreSettings)
    guided: GuidedSettings = field(default_factory=GuidedSettings)
    evidence: EvidenceSettings = field(default_factory=EvidenceSettings)
    gumbel: GumbelSettings = field(default_factory=GumbelSettings)
    darts: DartsSettings = field(default_factory=DartsSettings)
    gdas: GdasSettings = field(default_factory=GdasSettings)
    random: SampledSettings = field(default_factory=SampledSettings)
    evolution: SampledSettings = field(default_factory=SampledSettings)
    tpe: SampledSettings = field(default_factory=SampledSettings)
    branching: BranchingSettings = field(default_factory=BranchingSettings)

    def __post_init__(self) -> None:
        plain_values("search", self)
        if ":" not in self.strategy:
            one_of("search.strategy", self.strategy, STRATEGIES)
            self._check_readers()
        at_least("search.worth", self.worth, 0)
        fraction("search.confidence", self.confidence)
        one_of("search.cost", self.cost, COSTS)
        positive("search.budget", self.budget)
        for name in ("record_every", "pareto", "recalibration_batches"):
            at_least(f"search.{name}", getattr(self, name), 0)
        for name in ("random", "evolution", "tpe"):
            plain_values(f"search.{name}", getattr(self, name))
            at_least(f"search.{name}.samples", getattr(self, name).samples, 1)

    def _check_readers(self) -> None:
        """Raises InputError for a key that a built-in strategy would not read."""
        if self.options:
            raise InputError(
                f"search.options is {self.options}: expected none where the strategy is {self.strategy}, which reads "
                f"search.{self.strategy}"
            )
        if self.budget is not None and self.strategy not in READERS["budget"]:
            raise InputError(
                f"search.budget is {self.budget:g}: expected null where the strategy is {self.strategy}, which has none"
            )
        if self.pareto and self.strategy in ("score", "guided", "branching"):
            raise InputError(
                f"search.pareto is {self.pareto}: expected 0 where the strategy is {self.strategy}, "
                "which trains no supernet of all blocks"
            )
        if self.cost == "latency" and self.strategy == "branching":
            raise InputError("search.cost is latency: expected multiply_adds or parameters for the strategy branching")
        if self.from_ is not None and self.strategy not in READERS["from"]:
            raise InputError(
                f"search.from is '{self.from_}': expected null where the strategy is {self.strategy}, which trains a "
                "network of its own"
            )
        if self.noise_null and self.strategy not in READERS["noise_null"]:
            raise InputError(
                f"search.noise_null is true: expected false where the strategy is {self.strategy}, which has no null"
            )


READ_TOO = {"guided": ("score",)}  # groups of other strategies

STRATEGIES = tuple(item.name for item in fields(SearchSettings) if is_dataclass(item.default_factory))


def unread(strategy: str, keys: list[str]) -> str | None:
    """The first of these dotted keys that this strategy does not read; None if it reads them all.

    A strategy of one's own may read any.
    """
    if ":" in strategy:
        return None
    for key in keys:
        group, _, rest = key.partition(".")
        if group != "search":
            continue
        name = rest.partition(".")[0]
        if name in STRATEGIES and name not in (strategy, *READ_TOO.get(strategy, ())):
            return key
        if name in READERS and strategy not in READERS[name]:
            return key
    return None
