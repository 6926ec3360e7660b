"""search: the strategy and its settings."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class SelectionSettings:
    """How the choice between candidates is relaxed and sharpened.

    Args:
        temperature_start: Gumbel-softmax temperature at the first step; linear to the last (gumbel only; gdas goes
            from 10 to 0.1).
        temperature_end: Gumbel-softmax temperature at the last step.
        entropy_start: weight of the mean pair entropy in the loss at the first step; negative rewards entropy.
        entropy_end: weight of the mean pair entropy at the last step.
        learning_rate: of the logits (Adam; gumbel, darts and gdas).
        fix_gap: a pair is fixed for good once its two likeliest candidates differ by this probability.
        normalize_entropy: divide each pair's entropy by that of an even choice among its own candidates (ATRC - no).
    """

    temperature_start: float = 1.0
    temperature_end: float = 0.05
    entropy_start: float = -0.02
    entropy_end: float = 0.06
    learning_rate: float = 5e-4
    fix_gap: float = 0.3
    normalize_entropy: bool = False


@dataclass(frozen=True)
class SearchSettings:
    """The search itself.

    Args:
        strategy: evidence trains two mixtures of all candidates, each for half of the steps on its part of the images,
            and asks each on the other's images which messages help; gumbel is the single-level search of ATRC; darts
            and gdas learn the choice from held-out images, from the softmax of all candidates or from one drawn
            candidate per pair; random, evolution and tpe (these need nni) train every candidate equally often and rank
            sampled architectures by their validation.
        noise_null: replace what the tasks say about the choice by noise of the same size. What such a search finds is
            what chance finds: a yardstick for the others.
        held_out: share of the training images that are kept from the weights (darts and gdas), or from the second
            supernet's, the first one learning from them (evidence).
        silent: how often evidence leaves a pair out of a training step (evidence only).
        confidence: the probability from which a pair counts as decided (evidence only).
        sampling: mixture computes all candidates of a pair and mixes them (ATRC); single_path computes one drawn
            candidate per pair and step, in the memory of a single network (gumbel only).
        samples: how many architectures are ranked (random, evolution and tpe).
        recompute: blocks that compute their activations again in the backward pass instead of keeping them, which
            changes nothing but time and memory.
        record_every: steps between rows of selection.csv; 0 records a hundred times.
        cost: what the exchange's cost is counted in: multiply_adds or parameters (of one image, as in costs.csv), or
            latency (seconds of a forward pass).
        budget: the most that the chosen exchange may cost, in that unit; the run's costs.csv lists every block's.
        pareto: architectures to evaluate with the shared weights after the search, in NSGA-II's exploration of
            accuracy against cost; 0 for none.
        recalibration_batches: training batches over which batch statistics are renewed before the chosen, or a
            sampled, architecture is evaluated inside the supernet.
    """

    strategy: str = "evidence"
    noise_null: bool = False
    held_out: float = 0.5
    silent: float = 0.2
    confidence: float = 0.8
    sampling: str = "mixture"
    samples: int = 50
    recompute: list[str] = field(default_factory=list)
    record_every: int = 0
    cost: str = "multiply_adds"
    budget: float | None = None
    pareto: int = 0
    recalibration_batches: int = 20
