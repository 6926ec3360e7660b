"""An architecture with every block, on a network of 32 x 32 pixels."""

from experiment.config import Config, DataSettings
from search_spaces import Architecture
from tests.support.networks import small_network

TASKS = ("semseg", "depth", "edge")
C, D, PIXELS = 8, 4, 8 * 8  # features at a quarter of 32 x 32
REGIONS = {"semseg": 15, "depth": 40, "edge": 2}
SETTINGS = Config(
    DataSettings(height=32, width=32, tasks=list(TASKS), train_images=2, validation_images=2, test_images=2),
    small_network(channels=C),
)
# the prototypes of edge's features in edge's regions serve three pairs, those of depth's in depth's two
MIXED = {
    "semseg": {"semseg": "global", "depth": "s_label", "edge": "s_label"},
    "depth": {"semseg": "xtam", "depth": "t_label", "edge": "s_label"},
    "edge": {"semseg": "padnet_gate", "depth": "local", "edge": "t_label"},
}


def architecture(aggregator="atrc", **rows):
    """`none` but for the rows, {target: {source: block}}."""
    pairs = {(t, s): rows.get(t, {}).get(s, "none") for t in TASKS for s in TASKS}
    return Architecture(TASKS, pairs, aggregator)
