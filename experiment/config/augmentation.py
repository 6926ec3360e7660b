"""The papers' augmentation of training images, by name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Augmentation:
    """scale_range: smallest and largest magnification; factors: the only ones that are drawn, if any are named;
    rotation: largest angle, in degrees; random_crop: whether the crop lies anywhere, or in the middle; photometric:
    whether colours vary. Half of the images are flipped.
    """

    scale_range: tuple[float, float]
    factors: tuple[float, ...] = ()
    rotation: float = 0.0
    random_crop: bool = True
    photometric: bool = False


AUGMENTATIONS = {
    # Bruggemann et al., ICCV 2021
    "atrc": Augmentation((0.5, 2.0), photometric=True),
    # Vandenhende et al., TPAMI 2021: on NYU-Depth-v2 and on PASCAL-Context
    "vandenhende_nyud": Augmentation((1.0, 1.5), factors=(1.0, 1.2, 1.5), random_crop=False),
    "vandenhende_pascal": Augmentation((0.75, 1.25), rotation=20.0, random_crop=False),
    # LibMTL, where augmentation is asked for
    "libmtl": Augmentation((1.0, 1.5), factors=(1.0, 1.2, 1.5)),
    # Lopes et al., WACV 2023, fully supervised: a flip alone
    "densemtl": Augmentation((1.0, 1.0)),
}
