"""Prior boxes of SSD, from the input size and the shapes of the feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt

import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

Size = tuple[int, int]


def ssdlite_shapes(
    num_levels: int = 6,
    *,
    scale_range: tuple[float, float] = (0.2, 0.95),
    aspect_ratios: Sequence[float] = (2.0, 3.0),
    reduce_first_level: bool = True,
) -> list[Tensor]:
    """Prior shapes of the paper's SSDLite (its released configuration): 3, then 6 per cell.

    Scales are spaced evenly over the levels (SSD paper, equation 4). Each level has, at its scale,
    the ratio 1 and each ratio and its inverse, plus one more square between its scale and the
    next. The first level, when reduced, has only a square at half its scale and the ratios 2 and
    1/2.

    Returns:
        For each level `(A, 2)`: width and height relative to the shorter side of the input.
    """
    low, high = scale_range
    scales = [low + (high - low) * i / max(num_levels - 1, 1) for i in range(num_levels)] + [1.0]
    ratios = [1.0] + [r for ratio in aspect_ratios for r in (ratio, 1 / ratio)]
    shapes = []
    for level in range(num_levels):
        scale = scales[level]
        if level == 0 and reduce_first_level:
            pairs = [(scale / 2, 1.0), (scale, 2.0), (scale, 0.5)]
        else:
            pairs = [(scale, ratio) for ratio in ratios]
            pairs.append((sqrt(scale * scales[level + 1]), 1.0))
        shapes.append(torch.tensor([(s * sqrt(r), s / sqrt(r)) for s, r in pairs]))
    return shapes


def grid_priors(
    shapes: Sequence[Tensor], feature_sizes: Sequence[Size], input_size: Size
) -> list[Tensor]:
    """Centre the shapes of each level on each of its cells.

    Args:
        shapes: For each level `(A, 2)`, width and height in pixels.
        feature_sizes: `(height, width)` of each level's feature map.
        input_size: `(height, width)` of the network input, in pixels.

    Returns:
        For each level `(height * width * A, 4)` boxes xyxy in pixels, not clipped; the shapes of
        a cell are consecutive, and cells are in row order.
    """
    levels = []
    for wh, (rows, columns) in zip(shapes, feature_sizes, strict=True):
        y = (torch.arange(rows, dtype=wh.dtype) + 0.5) * (input_size[0] / rows)
        x = (torch.arange(columns, dtype=wh.dtype) + 0.5) * (input_size[1] / columns)
        centres = torch.stack(torch.meshgrid(x, y, indexing='xy'), dim=-1)  # (rows, columns, 2)
        centres = centres.reshape(-1, 1, 2)
        levels.append(torch.cat([centres - wh / 2, centres + wh / 2], dim=-1).reshape(-1, 4))
    return levels


@TASK_UTILS.register_module()
class SSDLitePriorGenerator:
    """SSDLite's priors for any input size; the defaults are the paper's.

    Args:
        num_levels: Number of feature maps.
        scale_range: Scale on the first and on the last level, relative to the input's shorter
            side.
        aspect_ratios: Ratios (width over height) besides 1; the inverses are added.
        reduce_first_level: Three small priors on the first level instead of the full list.
        shapes: Explicit shapes instead of all of the above: for each level the list of
            `(width, height)` relative to the input's shorter side.
        base_side: Pixels to use instead of the input's shorter side. What a network learns about a
            prior depends on its size in pixels, so one that is trained or tested at several input
            sizes needs the same pixels at each. `None` scales priors with the input.

    Raises:
        ValueError: If a shape, a scale or `base_side` is not positive.
    """

    def __init__(
        self,
        *,
        num_levels: int = 6,
        scale_range: tuple[float, float] = (0.2, 0.95),
        aspect_ratios: Sequence[float] = (2.0, 3.0),
        reduce_first_level: bool = True,
        shapes: Sequence[Sequence[tuple[float, float]]] | None = None,
        base_side: float | None = None,
    ) -> None:
        if base_side is not None and base_side <= 0:
            raise ValueError(f'base_side must be pixels above 0, or None, got {base_side}')
        self.base_side = base_side
        if shapes is None:
            if not 0 < scale_range[0] <= scale_range[1] <= 1:
                raise ValueError(f'scale_range must rise within (0, 1], got {scale_range}')
            self.shapes = ssdlite_shapes(
                num_levels,
                scale_range=tuple(scale_range),
                aspect_ratios=aspect_ratios,
                reduce_first_level=reduce_first_level,
            )
        else:
            self.shapes = [torch.tensor(level, dtype=torch.float32) for level in shapes]
        if not self.shapes or any(s.ndim != 2 or (s <= 0).any() for s in self.shapes):
            raise ValueError(
                'every level needs at least one (width, height) above 0, relative to the '
                f"input's shorter side, got shapes={shapes}"
            )

    @property
    def num_levels(self) -> int:
        """Number of feature maps."""
        return len(self.shapes)

    @property
    def num_base_priors(self) -> list[int]:
        """Number of priors per cell, by level."""
        return [len(shape) for shape in self.shapes]

    def grid_priors(
        self, feature_sizes: Sequence[Size], *, input_size: Size, device: torch.device | str
    ) -> list[Tensor]:
        """All priors of all levels; see `grid_priors` of this module."""
        side = min(input_size) if self.base_side is None else self.base_side
        shapes = [shape * side for shape in self.shapes]
        return [p.to(device) for p in grid_priors(shapes, feature_sizes, input_size)]

    def valid_flags(
        self,
        feature_sizes: Sequence[Size],
        pad_shape: Size,
        *,
        input_size: Size,
        device: torch.device | str,
    ) -> list[Tensor]:
        """Tell which priors begin inside an image that was padded to the size of its batch.

        Args:
            feature_sizes: `(height, width)` of each level.
            pad_shape: `(height, width)` of the image itself, in pixels.
            input_size: `(height, width)` of the network input, in pixels.
            device: Where the flags are put.

        Returns:
            For each level `(height * width * A,)` bool.
        """
        levels = []
        for (rows, columns), num in zip(feature_sizes, self.num_base_priors, strict=True):
            flags = torch.zeros(rows, columns, num, dtype=torch.bool, device=device)
            valid_rows = ceil(pad_shape[0] * rows / input_size[0])
            valid_columns = ceil(pad_shape[1] * columns / input_size[1])
            flags[:valid_rows, :valid_columns] = True
            levels.append(flags.flatten())
        return levels


class MMDetPriors:
    """mmdet's own prior generators behind the interface of `SSDLitePriorGenerator`.

    Their sizes and strides are fixed in pixels, so the input size is ignored.

    Args:
        generator: A built `SSDAnchorGenerator` or similar.
    """

    def __init__(self, generator: object) -> None:
        self.generator = generator
        self.num_levels = generator.num_levels
        self.num_base_priors = generator.num_base_priors

    def grid_priors(
        self, feature_sizes: Sequence[Size], *, device: torch.device | str, **_: Size
    ) -> list[Tensor]:
        """All priors of all levels, `(height * width * A, 4)` boxes xyxy in pixels each."""
        return self.generator.grid_priors(list(feature_sizes), device=device)

    def valid_flags(
        self,
        feature_sizes: Sequence[Size],
        pad_shape: Size,
        *,
        device: torch.device | str,
        **_: Size,
    ) -> list[Tensor]:
        """Tell which priors begin inside the image; `(height * width * A,)` bool per level."""
        return self.generator.valid_flags(list(feature_sizes), pad_shape, device=device)


def build_priors(cfg: dict) -> SSDLitePriorGenerator | MMDetPriors:
    """Build a prior generator of ours or of mmdet from its config."""
    generator = TASK_UTILS.build(cfg)
    if isinstance(generator, SSDLitePriorGenerator):
        return generator
    return MMDetPriors(generator)


def find_padding(
    generator: SSDLitePriorGenerator | MMDetPriors,
    cls_scores: Sequence[Tensor],
    batch_img_metas: Sequence[dict],
) -> Tensor | None:
    """Find the priors outside images that were padded to the size of the batch.

    Args:
        generator: The generator of the priors.
        cls_scores: For each level `(N, channels, H, W)`; only the sizes are used.
        batch_img_metas: For each image `pad_shape`, and what `input_size_of` takes.

    Returns:
        `(N, P)` bool, or `None` if no image was padded.
    """
    input_size = input_size_of(batch_img_metas)
    pad_shapes = [tuple(meta.get('pad_shape', input_size)[:2]) for meta in batch_img_metas]
    if all(shape == input_size for shape in pad_shapes):
        return None
    sizes = [tuple(score.shape[-2:]) for score in cls_scores]
    kwargs = dict(input_size=input_size, device=cls_scores[0].device)
    flags = [torch.cat(generator.valid_flags(sizes, shape, **kwargs)) for shape in pad_shapes]
    return ~torch.stack(flags)


def input_size_of(batch_img_metas: Sequence[dict]) -> tuple[int, int]:
    """Return the `(height, width)` in pixels of the batch that the network saw.

    Raises:
        ValueError: If the first image's metadata does not say it.
    """
    meta = batch_img_metas[0]
    for key in ('batch_input_shape', 'pad_shape', 'img_shape'):
        if key in meta:
            return tuple(meta[key][:2])
    raise ValueError(
        f'the image metadata has none of batch_input_shape, pad_shape and img_shape, only '
        f"{sorted(meta)}; use mmdet's DetDataPreprocessor and PackDetInputs"
    )
