"""Every strategy on the pretended GPU: no tensor of the CPU meets one of the GPU, and no step waits for it, neither one
of the weights nor one of logits on held-out images.
"""

import json

import pytest

from supernet.strategies import STRATEGIES
from tests.support.gpu_run import benchmark_on_gpu, on_gpu
from tests.support.pretended_gpu import UNTRIED, tried

pytestmark = pytest.mark.skipif(not tried(), reason=UNTRIED)

SMALL = "--space.blocks=[none, global, t_label]"
SAMPLED = [SMALL, "--training.iterations=2", "--data.validation_images=2"]
OPTIONS = {
    "gumbel": [],  # with the whole space
    "guided": [SMALL, "--search.worth=0", "--search.confidence=0.9999"],  # so that some pair is left to the supernet
    # exchanges at two scales
    "darts": [SMALL, "--network.decoder=fpm", "--space.scales=[0, 1]", "--training.iterations=2"],
    "branching": ["--search.branching.validation_fraction=0.4", "--search.branching.warm_up_fraction=0.4"],
    "evidence": [SMALL, "--training.iterations=4"],  # two supernets share the steps
    "random": [*SAMPLED, "--search.random.samples=2"],
    "evolution": [*SAMPLED, "--search.evolution.samples=2"],
    "tpe": [*SAMPLED, "--search.tpe.samples=2"],
}
LEARN_FROM_HELD_OUT = {"darts", "gdas", "guided", "branching"}  # their logits
DRAWS = {"gdas"}  # the logits decide what a step computes, and the host must know


@pytest.mark.parametrize("strategy", [*STRATEGIES, "branching"])
def test_strategies_on_a_gpu(tmp_path, strategy):
    found = on_gpu(tmp_path, "search", f"--search.strategy={strategy}", *OPTIONS.get(strategy, [SMALL]))
    assert found.code == 0, found.problem
    assert not found.mismatches
    assert found.steps and all(found.steps.values())
    limit = 1 if strategy in DRAWS else 0
    assert all(wait <= limit for steps in (*found.steps.values(), found.choices) for wait in steps), found.report
    assert bool(found.choices) == (strategy in LEARN_FROM_HELD_OUT)
    assert found.evaluated and not any(found.evaluated)
    assert all(wait <= 1 for wait in found.held_out)  # whether the features are finite
    assert bool(found.held_out) == (strategy == "evidence")
    if strategy == "guided":
        assert "supernet" in found.steps  # the supernet's training


def test_the_benchmark_of_a_gpu_prints_all_of_its_parts(tmp_path):
    """Its searches are left out: the strategies run above."""
    found, printed = benchmark_on_gpu(tmp_path)
    assert found.code == 0 and not found.problem, found.problem
    assert not found.mismatches and "failed" not in printed
    content = json.loads((tmp_path / "run/gpu.json").read_text())["results"]
    steps = content["steps, fp32"]
    assert list(steps) == [line.split("  ")[0] for line in printed.splitlines()[4 : 4 + len(steps)]]
    assert all(set(step) == {"seconds", "bytes", "busy"} for step in steps.values())
    forms = ["as it is", "F.interpolate", "unpadded attention", "attention in any order"]
    assert list(content["without forms, fp32"]) == forms
    assert set(content["waits"]) == set(STRATEGIES) and all(content["runs alike"].values())
    assert "share of the time in which the GPU computes: multi_task 0.00" in printed
    assert all(f"\n({part}: " in printed for part in ("steps, fp32", "without forms, fp32", "waits", "runs alike"))
