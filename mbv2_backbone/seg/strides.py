"""How far apart the cells of a feature map are, and what atrous rates follow from it."""

from __future__ import annotations

from collections.abc import Sequence

REFERENCE_STRIDE = 16


def scale_dilations(dilations: Sequence[int], output_stride: int) -> tuple[int, ...]:
    """Scale atrous rates so that they reach equally far in the image.

    Args:
        dilations: Rates at output stride 16, as papers state them; each from 1.
        output_stride: Of the feature map that they run on: 8, 16 or 32.

    Returns:
        The rates at `output_stride`: (6, 12, 18) becomes (12, 24, 36) at 8 (DeepLabV3 paper,
        section 3.3).

    Raises:
        ValueError: If a rate is not a whole number there.

    Example:
        >>> scale_dilations((6, 12, 18), 8)
        (12, 24, 36)
    """
    if output_stride not in (8, 16, 32):
        raise ValueError(f'output_stride must be 8, 16 or 32, got {output_stride!r}')
    wrong = [
        rate
        for rate in dilations
        if not isinstance(rate, int) or rate < 1 or rate * REFERENCE_STRIDE % output_stride
    ]
    if wrong:
        raise ValueError(
            f'dilations {tuple(dilations)} are rates at output stride {REFERENCE_STRIDE}; '
            f'{wrong[0]!r} gives no whole rate at output stride {output_stride}'
        )
    return tuple(rate * REFERENCE_STRIDE // output_stride for rate in dilations)


def check_stride(
    feature_hw: Sequence[int], input_hw: Sequence[int], output_stride: int, name: str
) -> None:
    """Refuse a feature map of another output stride than a head was built for.

    Args:
        feature_hw: Height and width of the feature map in cells.
        input_hw: Height and width of the network's input in pixels.
        output_stride: What the head was built for.
        name: Of the head's class, for the message.

    Raises:
        ValueError: It says which option to set.
    """
    expected = tuple(-(-int(size) // output_stride) for size in input_hw)
    if tuple(feature_hw) != expected:
        raise ValueError(
            f'{name}(output_stride={output_stride}) expects a feature map of {expected} cells for '
            f'an input of {tuple(int(size) for size in input_hw)} pixels, got '
            f'{tuple(feature_hw)}; give backbone and head the same output_stride: '
            f'--cfg-options model.backbone.output_stride=8 model.decode_head.output_stride=8'
        )
