"""Functions that `mmengine.hub.get_model` calls in the package of a config."""


def register_all_modules() -> None:
    """Register the models and datasets of this package."""
    from . import det, joint, seg  # noqa: F401
