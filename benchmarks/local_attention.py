"""Local context's attention, forward and backward: tiles against unfold, 81 shifts and (on a GPU) flex_attention.

python -m benchmarks.local_attention --output runs/benchmarks
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.measure import Cost, available, in_turn
from benchmarks.naive import unfold_attention
from benchmarks.output import print_table, write
from search_spaces.blocks.local_context import WINDOW, local_attention, tiled_attention

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def shifted_attention(query: Tensor, key: Tensor, value: Tensor, window: int = WINDOW) -> Tensor:
    """(N, d, H, W), one position of the window after another, without copies of the maps."""
    height, width = query.shape[2:]
    reach = window // 2
    keys, values = (F.pad(maps, (reach,) * 4) for maps in (key, value))
    places = [(slice(y, y + height), slice(x, x + width)) for y in range(window) for x in range(window)]
    logits = torch.stack([(query * keys[:, :, y, x]).sum(1) for y, x in places], 1)
    weights = (logits / query.shape[1] ** 0.5).softmax(1)
    out = torch.zeros_like(query)
    for i, (y, x) in enumerate(places):
        out = torch.addcmul(out, weights[:, i : i + 1], values[:, :, y, x])
    return out


def flex_attention(height: int, width: int, device: torch.device) -> Attention:
    """The same through torch's compiled flex_attention, on maps padded by zeros; the window's mask is a block mask."""
    from torch.nn.attention.flex_attention import create_block_mask
    from torch.nn.attention.flex_attention import flex_attention as flex

    reach = WINDOW // 2
    wide = width + 2 * reach

    def near(_b: Tensor, _h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        down, right = k // wide - q // width, k % wide - q % width
        return (down >= 0) & (down < WINDOW) & (right >= 0) & (right < WINDOW)

    count = (height + 2 * reach) * wide
    mask = create_block_mask(near, None, None, height * width, count, device=str(device))
    compiled = torch.compile(flex, dynamic=False)

    def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        # head dimensions must be powers of two: zeros change no product
        room = 2 ** (query.shape[1] - 1).bit_length() - query.shape[1]
        q = F.pad(query.flatten(2).transpose(1, 2), (0, room))
        k, v = (F.pad(F.pad(m, (reach,) * 4).flatten(2).transpose(1, 2), (0, room)) for m in (key, value))
        out = compiled(q[:, None], k[:, None], v[:, None], block_mask=mask, scale=query.shape[1] ** -0.5)
        return out[:, 0, :, : query.shape[1]].transpose(1, 2).unflatten(2, query.shape[2:])

    return attention


def step(attention: Attention, maps: list[Tensor], gradient: Tensor) -> Callable[[], object]:
    def call() -> None:
        for each in maps:
            each.grad = None
        attention(*maps).backward(gradient)

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="folder for local_attention.json")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", nargs="+", default=["16x20", "32x40", "107x140"], metavar="HEIGHTxWIDTH")
    parser.add_argument("--maps", type=int, default=64, help="4 images of 16 pairs")
    parser.add_argument("--channels", type=int, default=33)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    options = parser.parse_args()
    device = torch.device(options.device)
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    print(f"{options.maps} maps of {options.channels} channels, {device}, {options.precision}")
    results: dict[str, dict[str, Cost]] = {}
    for size in options.sizes:
        height, width = (int(n) for n in size.split("x"))
        torch.manual_seed(0)
        shape = (options.maps, options.channels, height, width)
        maps = [torch.randn(shape, device=device, dtype=dtype, requires_grad=True) for _ in range(3)]
        gradient = torch.randn_like(maps[0])
        attentions: dict[str, Attention] = {"unfold": unfold_attention, "81 shifts": shifted_attention}
        copies = 6 * WINDOW**2 * maps[0].nbytes  # keys, values, both products and their gradients
        if copies > available(device):
            print(f"\n{size}: unfold needs about {copies / 1e9:.0f} GB, more than there is, and is left out")
            del attentions["unfold"]
        attentions["tiles"] = local_attention
        if device.type == "cuda":
            attentions["flex_attention, compiled"] = flex_attention(height, width, device)
        else:
            attentions["tiles, scaled_dot_product_attention"] = tiled_attention
        results[size] = in_turn(
            {name: step(a, maps, gradient) for name, a in attentions.items()}, options.rounds, device
        )
        print_table(size, results[size])
        with torch.no_grad():
            first = next(iter(attentions.values()))(*maps)
            deviations = {name: float((a(*maps) - first).abs().max()) for name, a in attentions.items()}
        print("largest deviation from the first: " + ", ".join(f"{k} {v:.1e}" for k, v in deviations.items()))
    write(options.output, "local_attention", options, results)


if __name__ == "__main__":
    main()
