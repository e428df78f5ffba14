"""Base class of our decode heads, which checks the output stride of their feature map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.utils import resize
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from .losses import pixel_accuracy

REFERENCE_STRIDE = 16


class StrideCheckedHead(BaseDecodeHead):
    """A decode head that rejects a feature map whose output stride differs from its own.

    Args:
        output_stride: Of the deepest feature map that the head uses: 8, 16 or 32.
        norm_cfg: mmcv's config of the norm layers; `None` means `dict(type='BN')`.
        loss_decode: Config of the loss, or of several; `None` means `PixelCrossEntropyLoss`.
        align_corners: How maps are resized. True suits inputs of 16 k + 1 pixels (513), where the
            cells of a map are on every 16th pixel, including the last one.
        **kwargs: As for mmseg's `BaseDecodeHead`.
    """

    def __init__(
        self,
        *,
        output_stride: int = 16,
        norm_cfg: dict | None = None,
        loss_decode: dict | list[dict] | None = None,
        align_corners: bool = True,
        **kwargs: object,
    ) -> None:
        super().__init__(
            norm_cfg=norm_cfg or dict(type='BN'),
            loss_decode=loss_decode or dict(type='mmseg.PixelCrossEntropyLoss'),
            align_corners=align_corners,
            **kwargs,
        )
        self.output_stride = output_stride

    def loss(
        self,
        inputs: tuple[Tensor, ...],
        batch_data_samples: list[SegDataSample],
        train_cfg: dict,  # noqa: ARG002
    ) -> dict[str, Tensor]:
        """Compute the losses; see mmseg.

        Raises:
            ValueError: If backbone and head differ in output stride.
        """
        self._check_stride(inputs, batch_data_samples[0].gt_sem_seg.shape[-2:])
        # mmseg uses `forward` here, but a compiled head only runs when the module is called.
        return self.loss_by_feat(self(inputs), batch_data_samples)

    def loss_by_feat(
        self, seg_logits: Tensor, batch_data_samples: list[SegDataSample]
    ) -> dict[str, Tensor]:
        """Compute the losses of logits `(N, num_classes, h, w)`; see mmseg."""
        labels = self._stack_batch_gt(batch_data_samples)
        logits = resize(
            seg_logits, size=labels.shape[2:], mode='bilinear', align_corners=self.align_corners
        )
        weight = self.sampler.sample(logits, labels) if self.sampler is not None else None
        labels = labels.squeeze(1)
        losses: dict[str, Tensor] = {}
        several = isinstance(self.loss_decode, nn.ModuleList)
        for loss in self.loss_decode if several else [self.loss_decode]:
            value = loss(logits, labels, weight=weight, ignore_index=self.ignore_index)
            losses[loss.loss_name] = losses.get(loss.loss_name, 0) + value
        losses['acc_seg'] = pixel_accuracy(logits, labels, ignore_index=self.ignore_index)
        return losses

    def predict(
        self,
        inputs: tuple[Tensor, ...],
        batch_img_metas: list[dict],
        test_cfg: dict,  # noqa: ARG002
    ) -> Tensor:
        """Compute logits `(N, num_classes, H, W)` at the network's input size; see mmseg.

        Raises:
            ValueError: If backbone and head differ in output stride.
        """
        meta = batch_img_metas[0]
        size = meta['img_shape']
        # As in mmseg, a torch.Size marks a window of sliding inference.
        if not isinstance(size, torch.Size):
            size = meta.get('pad_shape', size)
        self._check_stride(inputs, size[:2])
        return self.predict_by_feat(self(inputs), batch_img_metas)

    def _check_stride(self, inputs: tuple[Tensor, ...], input_hw: tuple[int, int]) -> None:
        index = self.in_index[-1] if isinstance(self.in_index, (list, tuple)) else self.in_index
        feature_hw = tuple(inputs[index].shape[2:])
        expected = tuple(-(-int(size) // self.output_stride) for size in input_hw)
        if feature_hw != expected:
            raise ValueError(
                f'{type(self).__name__}(output_stride={self.output_stride}) expects a feature map '
                f'of {expected} cells for an input of {tuple(map(int, input_hw))} pixels, got '
                f'{feature_hw}; give backbone and head the same output_stride: --cfg-options '
                f'model.backbone.output_stride=8 model.decode_head.output_stride=8'
            )


def scale_dilations(dilations: Sequence[int], output_stride: int) -> tuple[int, ...]:
    """Scale atrous rates so that they cover the same distance in the image.

    Args:
        dilations: Rates at output stride 16, as papers state them; each at least 1.
        output_stride: Of the feature map that they are applied to: 8, 16 or 32.

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
