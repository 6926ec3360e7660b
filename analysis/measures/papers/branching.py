"""The units of Bruggemann et al., BMTAS, BMVC 2020, at the size at which its public code lists their operations."""

from collections.abc import Iterator

from analysis.measures.papers.row import Row
from experiment.config import NetworkSettings
from supernet.branching.search import unit_costs
from supernet.records.costs import Cost

BMTAS = "Bruggemann et al., BMTAS, BMVC 2020"
SIZE = 512
UNITS = 2_323_500_000  # half the 4.647 G operations of the blocks; the list's 18th unit is an R-ASPP module


def branching_rows() -> Iterator[Row]:
    """MobileNetV2 of output stride 16, its stem and last convolution aside."""
    settings = NetworkSettings(backbone="mobilenetv2_100", backbone_options={"output_stride": 16})
    cost = sum(unit_costs(settings, SIZE, SIZE), Cost())
    note = "convolutions alone; the published list is rounded unit by unit"
    yield Row(BMTAS, "", "MobileNetV2, 17 units", cost.parameters, int(cost.multiply_adds), None, UNITS, note)
