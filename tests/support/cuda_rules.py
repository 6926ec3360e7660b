"""Which calls wait for a GPU, which have no deterministic CUDA kernel, and what torch.cuda says of a GPU."""

from types import SimpleNamespace
from typing import Any

import torch

aten = torch.ops.aten

# The host must know a result, or its size, before it can go on.
READS = {
    aten._local_scalar_dense.default: "item",
    aten.equal.default: "equal",
    aten.is_nonzero.default: "bool",
    aten.nonzero.default: "nonzero",
    aten.masked_select.default: "masked_select",
    aten._unique2.default: "unique",
    aten.unique_dim.default: "unique",
    aten.unique_consecutive.default: "unique",
    aten.bincount.default: "bincount",
    aten.histc.default: "histc",
    aten.repeat_interleave.Tensor: "repeat_interleave",
}
COPIES = ("_to_copy", "copy_", "copy", "_copy_from")
INDEXING = ("index", "index_put", "index_put_", "_unsafe_index", "_index_put_impl_")
# a CPU tensor of no dimensions may stand beside CUDA tensors here, as in all pointwise calls
TAKES_SCALARS = ("masked_fill", "masked_fill_", "fill_", "index_put_", "index_fill", "index_fill_", "where")

# torch.use_deterministic_algorithms(warn_only=True) warns: there is no deterministic CUDA form, or as for attention
# none is taken but without warn_only
UNDETERMINED = {
    "upsample_bilinear2d_backward",
    "grid_sampler_2d_backward",
    "adaptive_max_pool2d_backward",
    "_adaptive_avg_pool2d_backward",
    "reflection_pad2d_backward",
    "kthvalue",
    "median",
    "put_",
    "nll_loss2d_forward",
    "_scaled_dot_product_efficient_attention_backward",
    "_scaled_dot_product_flash_attention_backward",
}
# the flag chooses another, slower kernel
SLOWER = {
    "cumsum",
    "index_add",
    "index_add_",
    "index_copy_",
    "index_put",
    "index_put_",
    "_index_put_impl_",
    "scatter_add",
    "scatter_add_",
    "replication_pad2d_backward",
    "embedding_dense_backward",
}
SCATTERS = ("scatter_add", "scatter_add_")  # where the flag is on, a table of strides is sent to the GPU, which waits


def answers(memory: int) -> dict[str, Any]:
    """What torch.cuda says."""
    about = SimpleNamespace(name="pretended", major=9, minor=0, total_memory=memory, multi_processor_count=132)
    nothing = ("_lazy_init", "init", "set_device", "synchronize", "empty_cache", "manual_seed_all", "manual_seed")
    return {
        **dict.fromkeys((*nothing, "reset_peak_memory_stats", "set_rng_state"), None),
        "is_available": True,
        "is_initialized": True,
        "is_bf16_supported": True,
        "is_current_stream_capturing": False,
        "device_count": 1,
        "current_device": 0,
        "mem_get_info": (memory, memory),
        "max_memory_allocated": 0,
        "memory_allocated": 0,
        "memory_reserved": 0,
        "get_device_name": "pretended",
        "get_device_capability": (9, 0),
        "get_device_properties": about,
        "get_rng_state": torch.zeros(16, dtype=torch.uint8),
    }
