"""Search strategies on one configuration: their cost, the score of their choice, their agreement over seeds.

Runs are grouped by search.strategy; otherwise they should differ in the seed alone. Search: seconds of training and
choosing, mean over the seeds. Memory: the highest peak, of the process on a CPU. Validation: Delta_m of the choice with
the supernet's weights, against the validation of --baseline, or without one against the training prior (the best
constant prediction); it compares strategies and does not predict Delta_m after retraining. Same block and kappa: over
couples of seeds, as in `agreement`. Retrained: Delta_m of the architectures in --retrained, against --baseline.
"""

import argparse

from analysis.arguments import add_output_options
from analysis.commands.agreement import cells as agreement_cells
from analysis.measures.strategies import Row, Spread, Strategies, compare_strategies
from analysis.report.numbers import scaled, spread
from analysis.report.result import Result, Table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", metavar="RUN", nargs="+", help="search runs of one configuration")
    parser.add_argument("--retrained", metavar="DIR", nargs="+", default=[], help="retrain runs of their architectures")
    parser.add_argument("--baseline", metavar="DIR", help="retrain run of the baseline (single_task), for Delta_m")
    add_output_options(parser)


def run(arguments: argparse.Namespace) -> Result:
    strategies = compare_strategies(arguments.runs, arguments.baseline, arguments.retrained)
    title = f"validation: the choice with the supernet's weights against {strategies.reference}"
    records = [_record(row) for row in strategies.rows]
    return Result(
        f"{title}; ± standard deviation over seeds",
        [_table(strategies)],
        records,
        {"reference": strategies.reference, "strategies": records},
        strategies.remarks,
    )


def _table(strategies: Strategies) -> Table:
    rows = strategies.rows
    agreements = [agreement_cells(row.agreement) if row.agreement else ["n/a"] * 3 for row in rows]
    return Table.of_columns(
        {
            "strategy": [row.strategy for row in rows],
            "seeds": [str(row.runs) for row in rows],
            "\nsearch": ["n/a" if row.seconds is None else f"{row.seconds:.0f} s" for row in rows],
            "peak\nmemory": [scaled(row.peak_memory_bytes, 1e9, "GB") for row in rows],
            "network's\nmultiply-adds": [scaled(row.multiply_adds, 1e9, "G") for row in rows],
            "validation\nDelta_m % ↑": [_cell(row.validation, row.runs) for row in rows],
            "same\nblock": [observed for observed, _, _ in agreements],
            "\nkappa": [kappa for _, _, kappa in agreements],
            "retrained\nDelta_m % ↑": [_cell(row.retrained, row.runs) for row in rows],
        }
    )


def _cell(value: Spread | None, runs: int) -> str:
    if value is None:
        return "n/a"
    return spread(value.mean, value.std, 2, "+") + (f" ({value.runs} of {runs})" if value.runs < runs else "")


def _record(row: Row) -> dict[str, object]:
    validation, retrained, alike = row.validation, row.retrained, row.agreement
    return {
        "strategy": row.strategy,
        "runs": row.runs,
        "seconds": row.seconds,
        "peak_memory_bytes": row.peak_memory_bytes,
        "multiply_adds": row.multiply_adds,
        "validation_delta_m": validation and validation.mean,
        "validation_delta_m_std": validation and validation.std,
        "agreement_percent": alike and alike.agreement_percent,
        "chance_percent": alike and alike.chance_percent,
        "kappa": alike and alike.kappa,
        "retrained_delta_m": retrained and retrained.mean,
        "retrained_delta_m_std": retrained and retrained.std,
        "retrained_runs": retrained.runs if retrained else 0,
    }
