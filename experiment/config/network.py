"""network: the encoder, the decoder and the channels of the tasks' features."""

from dataclasses import dataclass, field
from typing import Any

from experiment.config.checks import at_least, one_of, plain_values, within
from experiment.errors import InputError

# what the project itself passes to timm's create_model
RESERVED = ("pretrained", "checkpoint_path", "features_only")
ENCODERS = ("shared", "per_task")
MOST_CHANNELS = 2**16


@dataclass(frozen=True)
class NetworkSettings:
    """Encoder, decoder and heads.

    Args:
        backbone: name of a timm model, the encoder, such as resnet18, hrnet_w18_small_v2,
            swin_tiny_patch4_window7_224 or vit_small_patch14_dinov2; or a class of your own, package.module:Class.
        backbone_options: keyword arguments of timm's create_model, or of your own class, such as {output_stride - 16}
            or {channels - [16, 32, 64, 128], stem_type - deep, stem_width - 8}, a narrow ResNet. Those of a file are
            dropped where the command line names another backbone.
        pretrained: false for random weights; true for timm's weights from its hub; or a file (.pt, .pth or
            .safetensors) with the state dict of the model of that name. Classifier weights are ignored.
        backbone_rate: factor on the encoder's learning rate; 0 freezes the encoder and its batch statistics.
        encoders: shared, one encoder and decoder for all tasks; or per_task, an encoder and decoder for each, which
            read the task's own image where the data has one for each task, and else the same.
        branches: which units of the encoder tasks share, of shared encoders: the branching.yaml of a search by the
            strategy branching, or for each unit its groups of tasks; by default they share all.
        decoder: concat, fpm, aspp, deeplab_plain, deeplab_aspp, deeplab_joint, deeplab_branched, distillation,
            densemtl, fission_early, fission_early_mid, fission_mid, fission_late, mtan, mti_net, mti_net_faithful, or a
            class of your own, package.module:Class.
        channels: channels C of each task's features; by default the decoder's, mostly a quarter of the encoder's
            channels, all maps together.
        source_only: tasks that others read and that are not refined themselves (decoder distillation).
        init_from: a checkpoint (.pt), or the folder of a retrained seed, whose weights of the same name and shape a new
            network starts with.
    """

    backbone: str = "resnet18"
    backbone_options: dict[str, Any] = field(default_factory=dict)
    pretrained: bool | str = False
    backbone_rate: float = 1.0
    encoders: str = "shared"
    branches: list[list[list[str]]] | str | None = None
    decoder: str = "concat"
    channels: int | None = None
    source_only: list[str] = field(default_factory=list)
    init_from: str | None = None

    def __post_init__(self) -> None:
        plain_values("network", self)
        one_of("network.encoders", self.encoders, ENCODERS)
        if self.branches is not None and self.encoders != "shared":
            raise InputError(f"network.branches is set: expected network.encoders shared, found {self.encoders}")
        if self.branches in ("", []):
            raise InputError("network.branches is empty: expected a branching.yaml, or each unit's groups of tasks")
        for name in ("backbone", "decoder"):
            if not getattr(self, name):
                raise InputError(f"network.{name} is empty: expected a name")
        for name in self.backbone_options:
            if name in RESERVED:
                raise InputError(f"network.backbone_options has {name}: expected options other than {list(RESERVED)}")
        if self.init_from == "":
            raise InputError("network.init_from is empty: expected a checkpoint or the folder of a retrained seed")
        if self.pretrained == "":
            raise InputError("network.pretrained is empty: expected true, false or a file")
        if self.pretrained is True and ":" in self.backbone:
            raise InputError(f"network.pretrained is true, but '{self.backbone}' is no timm model: expected a file")
        at_least("network.backbone_rate", self.backbone_rate, 0)
        within("network.channels", self.channels, 2, MOST_CHANNELS)
