"""Small search problems whose answer is known: what the target needs, and where the source carries it.

The target's label is its own feature map plus, in the first two problems, something that only one kind of context can
fetch from the source. Everything else about the search is the real thing: the exchange over a space, the selection,
its schedules, the logits' Adam and the fixing of decided pairs.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiment.config import GumbelSettings, SearchSettings
from search_spaces import Exchange, SearchSpace
from supernet.selection import OPEN
from supernet.strategies.gumbel import GumbelCallback
from tests.support.supernets import current_choice, gumbel_supernet

TASKS = ("target", "source")
BLOCKS = ("none", "global", "local", "t_label", "s_label")
CHANNELS, SIZE, BATCH, REGIONS = 8, 16, 8, 4


def neighbourhood(source: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The mean of the source's 9x9 window about each pixel; its pixels are independent, so no image-wide sum has it."""
    pooled = F.avg_pool2d(source.relu(), 9, stride=1, padding=4)
    return source, 2 * F.relu((pooled - pooled.mean()) / pooled.std())


def image(source: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One value per image and channel, to be found in four pixels only: most windows do not hold any."""
    count = len(source)
    value = torch.randn(count, CHANNELS, 1, 1, generator=generator).relu()
    rows, columns = (torch.randint(SIZE - 1, (count,), generator=generator) for _ in range(2))
    marked = torch.zeros(count, 1, SIZE, SIZE)
    for i in range(count):
        marked[i, :, rows[i] : rows[i] + 2, columns[i] : columns[i] + 2] = 1
    return 0.1 * source + 8 * value * marked, 2 * value.expand(-1, -1, SIZE, SIZE)


def noise(source: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Nothing: the source is noise and the label does without it."""
    return source, torch.zeros_like(source)


def winner(problem, seed: int, steps: int = 300) -> str:  # type: ignore[no-untyped-def]
    """The block that a search picks for target <- source; all other pairs are fixed to none."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    space = SearchSpace(TASKS, BLOCKS, aggregator="pad", normalize_messages=True)
    supernet = gumbel_supernet(space, CHANNELS, generator)
    selection = supernet.sampler.selection
    open_pair = space.pairs.index(("target", "source"))
    for i in range(len(space.pairs)):
        if i != open_pair:
            selection.fixed[i] = space.blocks.index("none")
    assert isinstance(supernet.exchange, Exchange)
    readout = nn.Conv2d(CHANNELS, CHANNELS, 1)
    nn.init.dirac_(readout.weight)
    search = GumbelCallback(
        supernet.sampler, GumbelSettings(learning_rate=0.01), SearchSettings(record_every=10), steps
    )
    selection.refresh()
    weights = [p for name, p in supernet.named_parameters() if "logits" not in name]
    optimizer = torch.optim.AdamW([*weights, *readout.parameters()], 0.01)
    for step in range(steps):
        search.before_step(step)
        source = torch.randn(BATCH, CHANNELS, SIZE, SIZE, generator=generator)
        target = torch.randn(BATCH, CHANNELS, SIZE, SIZE, generator=generator)
        source, wanted = problem(source, generator)
        regions = {t: torch.randn(BATCH, REGIONS, SIZE, SIZE, generator=generator) for t in TASKS}
        refined = supernet({"target": target, "source": source}, regions)["target"]
        loss = F.mse_loss(readout(refined), target + wanted) + search.loss()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        search.after_step(step + 1)
    assert selection.fixed[open_pair] == OPEN or selection.choices()[open_pair] == selection.fixed[open_pair]
    return current_choice(selection).exchanges["target", "source"]
