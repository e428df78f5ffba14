"""How a checkpoint's network was trained: input, padding and batch norm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .layouts.schema import Layout
from .preprocessing import Preprocessing, data_preprocessor_of, parse_config, preprocessing_of

META_KEY = 'mbv2_backbone'


@dataclass(frozen=True)
class Origin:
    """The settings that weights need to give the same outputs as in their original network.

    Attributes:
        preprocessing: The input.
        padding: The backbone's `padding`.
        batch_norm_eps: The `eps` in the backbone's `norm_cfg`.
    """

    preprocessing: Preprocessing
    padding: str
    batch_norm_eps: float

    def to_meta(self) -> dict[str, Any]:
        """Return plain values to store in a checkpoint's `meta`."""
        return {META_KEY: asdict(self)}

    def __str__(self) -> str:
        return (
            f"input: {self.preprocessing}; padding '{self.padding}', "
            f'batch norm eps {self.batch_norm_eps:g}'
        )


def origin_of(checkpoint: Mapping[str, Any], layout: Layout) -> Origin:
    """Return the origin that the checkpoint states, else that of its layout's library.

    `convert_weights.py` stores the origin in `meta`; mmengine stores the whole config there.
    """
    meta = checkpoint.get('meta')
    meta = meta if isinstance(meta, Mapping) else {}
    noted = meta.get(META_KEY)
    if isinstance(noted, Mapping):
        try:
            return Origin(**{**noted, 'preprocessing': Preprocessing(**noted['preprocessing'])})
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"the checkpoint's meta[{META_KEY!r}] was not written by convert_weights.py: "
                f'{dict(noted)}'
            ) from error
    config = parse_config(meta.get('cfg'))
    data_preprocessor = data_preprocessor_of(config)
    backbone = (config.get('model') or {}).get('backbone') or {}
    eps = (backbone.get('norm_cfg') or {}).get('eps')
    return Origin(
        preprocessing_of(data_preprocessor) if data_preprocessor else layout.preprocessing,
        backbone.get('padding', layout.padding),
        layout.batch_norm_eps if eps is None else eps,
    )
