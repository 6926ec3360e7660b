"""The end of a training whose numbers are no longer finite."""

from experiment.errors import InputError


class Diverged(InputError):
    """A loss, a weight or a prediction is no longer finite."""
