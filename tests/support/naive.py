"""The exchange blocks and aggregators once more, from their formulas: one pair at a time, in loops, and slow.

Nothing is shared with the package but the names in a state dict: `w` holds one pair's weights by those names. Maps are
(B, C, H, W) in float64, regions (B, R, L).
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

Weights = Mapping[str, Tensor]


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights, norms, gates and running statistics.

    As built, many are 0 or 1 and would hide an error, and in a random network most ReLUs are shut everywhere.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=like.dtype)

    with torch.no_grad():
        for name, parameter in module.named_parameters():
            values = draw(parameter)
            if parameter.ndim > 2:  # a convolution: outputs about as large as its inputs
                parameter.copy_(values / parameter.shape[-3:].numel() ** 0.5)
            elif name.endswith("weight"):  # a norm's scale, of either sign
                parameter.copy_(values.sign() * (0.5 + values.abs()))
            else:
                parameter.copy_(0.3 + 0.5 * values)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.3 * draw(buffer))
            elif name.endswith("running_var"):
                buffer.copy_(0.5 + draw(buffer).abs())
    return module


# ---- layers


def conv(maps: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """kernel (D, C, k, k), zero padding to the same size: one matrix product per offset."""
    height, width = maps.shape[2:]
    reach = kernel.shape[2] // 2
    padded = maps.new_zeros(*maps.shape[:2], height + 2 * reach, width + 2 * reach)
    padded[:, :, reach : reach + height, reach : reach + width] = maps
    out = maps.new_zeros(len(maps), len(kernel), height, width)
    for y in range(kernel.shape[2]):
        for x in range(kernel.shape[3]):
            out += torch.einsum("dc,bchw->bdhw", kernel[:, :, y, x], padded[:, :, y : y + height, x : x + width])
    return out if bias is None else out + bias.view(1, -1, 1, 1)


def norm(maps: Tensor, w: Weights, at: str, train: bool) -> Tensor:
    """Batch normalisation of (B, C, ...), channel by channel."""
    out = torch.empty_like(maps)
    for c in range(maps.shape[1]):
        values = maps[:, c]
        if train:
            mean = values.sum() / values.numel()
            var = ((values - mean) ** 2).sum() / values.numel()
        else:
            mean, var = w[f"{at}running_mean"][c], w[f"{at}running_var"][c]
        values = (values - mean) / torch.sqrt(var + 1e-5)
        if f"{at}weight" in w:
            values = values * w[f"{at}weight"][c] + w[f"{at}bias"][c]
        out[:, c] = values
    return out


def relu(maps: Tensor) -> Tensor:
    return torch.where(maps > 0, maps, torch.zeros_like(maps))


def sigmoid(maps: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-maps))


def softmax(logits: Tensor) -> Tensor:
    """Of a vector."""
    powers = torch.exp(logits - logits.max())
    return powers / powers.sum()


def conv_norm(maps: Tensor, w: Weights, at: str, train: bool) -> Tensor:
    return norm(conv(maps, w[f"{at}.conv.weight"]), w, f"{at}.norm.", train)


def two_steps(maps: Tensor, w: Weights, at: str, train: bool) -> Tensor:
    return conv_norm(relu(conv_norm(maps, w, f"{at}.first", train)), w, f"{at}.second", train)


# ---- contexts (ATRC)


def global_context(w: Weights, target: Tensor, source: Tensor, train: bool) -> Tensor:
    """m_i = sum_j K_ij v_j, with K_ij = q_i k_j / sum_j' q_i k_j'."""
    q = torch.log(1 + torch.exp(two_steps(target, w, "query", train))).flatten(2)
    k = torch.log(1 + torch.exp(two_steps(source, w, "key", train))).flatten(2)
    v = relu(conv_norm(source, w, "value", train)).flatten(2)
    out = torch.zeros_like(q)
    for b in range(len(q)):
        for i in range(q.shape[2]):
            kernel = k[b].T @ q[b, :, i]  # one weight per source pixel
            out[b, :, i] = v[b] @ (kernel / kernel.sum().clamp_min(1e-12))
    return out.unflatten(2, target.shape[2:])


def local_window(query: Tensor, key: Tensor, value: Tensor, window: int = 9) -> Tensor:
    """(B, d, H, W). Outside the image: logit 0 within the softmax, and value 0."""
    batch, width, height, breadth = query.shape
    reach = window // 2
    out = torch.zeros_like(query)
    for b in range(batch):
        for y in range(height):
            for x in range(breadth):
                logits, values = [], []
                for v in range(y - reach, y + reach + 1):
                    for u in range(x - reach, x + reach + 1):
                        inside = 0 <= v < height and 0 <= u < breadth
                        logits.append(
                            query[b, :, y, x] @ key[b, :, v, u] / math.sqrt(width) if inside else query.new_zeros(())
                        )
                        values.append(value[b, :, v, u] if inside else query.new_zeros(width))
                out[b, :, y, x] = softmax(torch.stack(logits)) @ torch.stack(values)
    return out


def local_context(w: Weights, target: Tensor, source: Tensor, train: bool) -> Tensor:
    q = relu(two_steps(target, w, "query", train))
    k = relu(two_steps(source, w, "key", train))
    v = relu(conv_norm(source, w, "value", train))
    return local_window(q, k, v)


def regions(logits: Tensor, valid: Tensor | None = None) -> Tensor:
    """(B, R, H, W) -> (B, R, L): softmax over the valid pixels of each region; nothing valid gives zeros."""
    out = torch.zeros_like(logits.flatten(2))
    for b in range(len(logits)):
        pixels = [i for i in range(out.shape[2]) if valid is None or bool(valid[b].flatten()[i])]
        for r in range(logits.shape[1]):
            if pixels:
                out[b, r, pixels] = softmax(logits[b, r].flatten()[pixels])
    return out


def label_context(w: Weights, target: Tensor, source: Tensor, weights: Tensor, train: bool) -> Tensor:
    """weights: (B, R, L), the target's or the source's regions."""
    batch, count, positions = weights.shape
    prototypes = source.new_zeros(batch, source.shape[1], count)
    for b in range(batch):
        for r in range(count):
            prototypes[b, :, r] = source.flatten(2)[b] @ weights[b, r]
    q = relu(two_steps(target, w, "query", train)).flatten(2)
    k = relu(two_steps(prototypes[..., None], w, "key", train))[..., 0]
    v = relu(conv_norm(prototypes[..., None], w, "value", train))[..., 0]
    out = torch.zeros_like(q)
    for b in range(batch):
        for i in range(positions):
            out[b, :, i] = v[b] @ softmax(k[b].T @ q[b, :, i] / math.sqrt(q.shape[1]))
    return out.unflatten(2, target.shape[2:])


# ---- xTAM (DenseMTL)


def reduced_size(size: int, scale: int) -> int:
    return (size + scale - 1) // scale


def nearest(index: int, size: int, other: int) -> int:
    """Which of `other` positions the one at `index` of `size` reads: floor(index * other / size)."""
    return index * other // size


def xtam(
    w: Weights, target: Tensor, source: Tensor, train: bool, scale: int, over: Sequence[str] = ("pixels",)
) -> Tensor:
    height, width = source.shape[2:]
    h, b = reduced_size(height, scale), reduced_size(width, scale)
    e = relu(conv(source, w["embed.weight"], w["embed.bias"]))
    pooled, sampled = e.new_zeros(*e.shape[:2], h, b), e.new_zeros(*e.shape[:2], h, b)
    for y in range(h):
        for x in range(b):
            patch = e[:, :, y * scale : (y + 1) * scale, x * scale : (x + 1) * scale]
            pooled[:, :, y, x] = patch.flatten(2).max(2).values
            sampled[:, :, y, x] = target[:, :, nearest(y, h, height), nearest(x, b, width)]
    q = relu(conv_norm(sampled, w, "query", train)).flatten(2)
    k = relu(conv_norm(pooled, w, "key", train)).flatten(2)
    v = relu(conv_norm(pooled, w, "value", train)).flatten(2)
    smalls = []
    for axis in over:
        small = torch.zeros_like(q)
        for n in range(len(q)):
            if axis == "pixels":
                for i in range(q.shape[2]):
                    small[n, :, i] = v[n] @ softmax(k[n].T @ q[n, :, i] / math.sqrt(q.shape[1]))
            else:
                for c in range(q.shape[1]):
                    small[n, c] = softmax(k[n] @ q[n, c] / math.sqrt(q.shape[2])) @ v[n]
        smalls.append(small.unflatten(2, (h, b)))
    joined = torch.cat(smalls, 1)
    attended = e.new_zeros(len(e), joined.shape[1], height, width)
    for y in range(height):
        for x in range(width):
            attended[:, :, y, x] = w["alpha"] * joined[:, :, nearest(y, height, h), nearest(x, width, b)]
    itself = conv(e, w["gated.weight"]) * sigmoid(conv(e, w["gate.weight"]))
    return relu(conv_norm(torch.cat([itself, attended], 1), w, "project", train))


# ---- PAD-Net


def padnet_linear(w: Weights, source: Tensor) -> Tensor:
    return conv(source, w["project.weight"])


def padnet_conv(w: Weights, source: Tensor, train: bool) -> Tensor:
    maps = relu(norm(conv(source, w["conv.weight"]), w, "norm.", train))
    return conv_norm(maps, w, "project", train) if "project.conv.weight" in w else maps


def padnet_gate(w: Weights, source: Tensor, train: bool) -> Tensor:
    maps = conv(source, w["conv.weight"]) * sigmoid(conv(source, w["gate.weight"]))
    return conv_norm(maps, w, "project", train) if "project.conv.weight" in w else maps


# ---- after 2021


def tokens(values: Tensor, w: Weights, at: str) -> Tensor:
    """(B, C, n): a matrix, layer normalisation of each token, ReLU."""
    out = torch.einsum("dc,bcn->bdn", w[f"{at}.conv.weight"][:, :, 0, 0], values)
    for b in range(len(out)):
        for i in range(out.shape[2]):
            token = out[b, :, i]
            token = (token - token.mean()) / torch.sqrt(((token - token.mean()) ** 2).mean() + 1e-5)
            if f"{at}.weight" in w:
                token = token * w[f"{at}.weight"] + w[f"{at}.bias"]
            out[b, :, i] = token
    return relu(out)


def query(w: Weights, target: Tensor, source: Tensor, train: bool) -> Tensor:
    seen, pixels = conv(source, w["gather.weight"]).flatten(2), source.flatten(2)
    width = seen.shape[1]
    prototypes = source.new_zeros(len(source), source.shape[1], len(w["queries"]))
    for b in range(len(source)):
        for r, asked in enumerate(w["queries"]):
            prototypes[b, :, r] = pixels[b] @ softmax(asked @ seen[b] / math.sqrt(width))
    q = relu(two_steps(target, w, "query", train)).flatten(2)
    k, v = tokens(tokens(prototypes, w, "key.0"), w, "key.1"), tokens(prototypes, w, "value")
    out = torch.zeros_like(q)
    for b in range(len(q)):
        for i in range(q.shape[2]):
            out[b, :, i] = v[b] @ softmax(k[b].T @ q[b, :, i] / math.sqrt(width))
    return out.unflatten(2, target.shape[2:])


def bilinear(maps: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """(d, H, W) at a position between pixels, zero outside: (d,)."""
    out = maps.new_zeros(len(maps))
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < maps.shape[1] and 0 <= column < maps.shape[2]:
                out = out + maps[:, row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return out


def deform(w: Weights, target: Tensor, source: Tensor, train: bool) -> Tensor:
    place, value = conv(target, w["place.weight"], w["place.bias"]), relu(conv_norm(source, w, "value", train))
    out = torch.zeros_like(value)
    for b in range(len(value)):
        for y in range(value.shape[2]):
            for x in range(value.shape[3]):
                offsets, weights = place[b, :18, y, x].view(9, 2), softmax(place[b, 18:, y, x])
                for (dy, dx), share in zip(offsets, weights):
                    out[b, :, y, x] += share * bilinear(value[b], y + dy, x + dx)
    return out


def target_gate(w: Weights, target: Tensor, source: Tensor, train: bool) -> Tensor:
    channels = [conv(source[:, [c]], kernel[None, None]) for c, kernel in enumerate(w["spread.weight"])]
    gate = sigmoid(conv(target, w["gate.weight"], w["gate.bias"]))
    return gate * relu(conv_norm(torch.cat(channels, 1), w, "value", train))


def low_rank(w: Weights, source: Tensor, train: bool) -> Tensor:
    return relu(conv_norm(conv(source, w["reduce.weight"]), w, "expand", train))


# ---- all blocks, aggregators


def message(
    name: str,
    state: Weights,
    target: Tensor,
    source: Tensor,
    target_regions: Tensor,
    source_regions: Tensor,
    width: int,
    train: bool = False,
    scale: int = 2,
) -> Tensor:
    """The message of one pair; `state` is a block's `pair_state`, each weight with a leading axis of one."""
    w = {key: value[0].detach() for key, value in state.items()}
    formulas = {
        "none": lambda: target.new_zeros(len(target), width, *target.shape[2:]),
        "global": lambda: global_context(w, target, source, train),
        "local": lambda: local_context(w, target, source, train),
        "t_label": lambda: label_context(w, target, source, target_regions, train),
        "s_label": lambda: label_context(w, target, source, source_regions, train),
        "xtam": lambda: xtam(w, target, source, train, scale),
        "xtam_channel": lambda: xtam(w, target, source, train, scale, ("channels",)),
        "xtam_both": lambda: xtam(w, target, source, train, scale, ("pixels", "channels")),
        "query": lambda: query(w, target, source, train),
        "deform": lambda: deform(w, target, source, train),
        "target_gate": lambda: target_gate(w, target, source, train),
        "low_rank": lambda: low_rank(w, source, train),
        "padnet_gate": lambda: padnet_gate(w, source, train),
        "padnet_conv": lambda: padnet_conv(w, source, train),
        "padnet_linear": lambda: padnet_linear(w, source),
    }
    return formulas[name]()


def rescale(maps: Tensor, w: Weights) -> Tensor:
    """The norm and ReLU that end every candidate where blocks of different scale compete; eval mode."""
    return relu(norm(maps, w, "", train=False))


def aggregate(kind: str, w: Weights, target: str, own: Tensor, messages: Sequence[Tensor]) -> Tensor:
    """A target's refined features in eval mode; `w` is the aggregator's state dict."""
    if kind == "pad" or (kind == "mteb" and not messages):
        return sum(messages, own)

    def fused() -> Tensor:
        maps = conv(torch.cat(list(messages), 1), w[f"fuse.{target}.0.weight"])
        return norm(maps, w, f"fuse.{target}.1.", train=False)

    if kind == "mteb":
        return own + relu(fused())
    maps = torch.cat([own, fused()], 1) if messages else own
    return relu(norm(conv(maps, w[f"out.{target}.0.weight"]), w, f"out.{target}.1.", train=False))
