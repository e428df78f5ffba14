"""What `mmengine.hub.get_model` calls in the package that a config comes from."""


def register_all_modules() -> None:
    """Register the models and data sets of this package."""
    from . import det, joint, seg  # noqa: F401
