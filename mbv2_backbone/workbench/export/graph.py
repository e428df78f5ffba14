"""The exported network: RGB images in; scores, boxes and logits out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmengine.config import ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from ...common.messages import UserError
from ...deploy.metadata import Classification, Detection, Metadata, Segmentation
from ...det.targets import decode
from ...weights.preprocessing import swaps_channels
from ..configs.summary import Classes, ConfigSummary
from ..predict.fold import folded
from .geometry import Geometry


class Preprocess(nn.Module):
    """Resize, normalise and pad as the config's test pipeline and data preprocessor do.

    The result of the resize is not rounded to integers, unlike OpenCV's.

    Args:
        preprocessor: The model's data preprocessor, for `mean`, `std` and the colour order.
        geometry: Sizes of the export.
    """

    def __init__(self, preprocessor: nn.Module, geometry: Geometry) -> None:
        super().__init__()
        self.resized_size = geometry.resized_size
        self.resizes = geometry.input_size != geometry.resized_size
        height, width = geometry.resized_size
        self.padding = (0, geometry.network_size[1] - width, 0, geometry.network_size[0] - height)
        self.pad_value = float(
            getattr(preprocessor, 'pad_val', getattr(preprocessor, 'pad_value', 0))
        )
        self.takes_rgb = swaps_channels(preprocessor)  # images are read as BGR
        self.normalises = preprocessor._enable_normalize
        self.input_size = geometry.input_size
        if self.normalises:
            std, mean = (
                value.double().flatten() if self.takes_rgb else value.double().flatten().flip(0)
                for value in (preprocessor.std, preprocessor.mean)
            )
            # Expanded to a row of the image: runtimes are slow at repeating three numbers.
            self.register_buffer('scale', (1 / std).float().repeat(self.input_size[1]))
            self.register_buffer('shift', (-mean / std).float().repeat(self.input_size[1]))

    def forward(self, image: Tensor) -> Tensor:
        """Map `(N, H, W, 3)` RGB, 0 to 255, to the backbone's input, `(N, 3, h, w)` float32."""
        height, width = self.input_size
        x = image.float()
        if self.normalises:
            x = x.reshape(-1, height, width * 3) * self.scale + self.shift
            x = x.reshape(-1, height, width, 3)
        return self._fitted(x.permute(0, 3, 1, 2))

    def from_planes(self, image: Tensor) -> Tensor:
        """Do the same for `(N, 3, H, W)` RGB, 0 to 255."""
        if self.normalises:
            image = image * self.scale[:3].view(3, 1, 1) + self.shift[:3].view(3, 1, 1)
        return self._fitted(image)

    def _fitted(self, x: Tensor) -> Tensor:
        if self.resizes:
            x = F.interpolate(x, size=self.resized_size, mode='bilinear', align_corners=False)
        if not self.takes_rgb:
            x = x.flip(1)
        return F.pad(x, self.padding, value=self.pad_value) if any(self.padding) else x


class BoxOutput(nn.Module):
    """SSDLite's head up to scores and decoded boxes; priors are constants.

    Args:
        head: An `SSDLiteHead`.
        features: Feature maps of an image of the network's size, which determine the priors.
        geometry: Sizes of the export.
    """

    def __init__(self, head: nn.Module, features: Sequence[Tensor], geometry: Geometry) -> None:
        super().__init__()
        self.head = head
        self.num_outputs = head.cls_out_channels
        with torch.no_grad():
            cls_scores, _ = head(tuple(features))
        priors, level_of = head.batch_priors(cls_scores, [dict(img_shape=geometry.network_size)])
        self.level_sizes = tuple(torch.bincount(level_of).tolist())
        height, width = geometry.input_size
        scale = [width / geometry.resized_size[1], height / geometry.resized_size[0]]
        # Decoding commutes with scaling, so the boxes come out directly in pixels of the input.
        self.register_buffer('priors', priors * priors.new_tensor(scale * 2))
        self.register_buffer('limit', priors.new_tensor([width, height, width, height]))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return scores `(N, P, C)` in [0, 1] and boxes `(N, P, 4)` xyxy in pixels.

        The boxes are clipped to the image, unless they are to be clipped after NMS.
        """
        return self.decoded(*self.codes(features))

    def codes(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the logits `(N, P, num_outputs)` and the codes of the boxes `(N, P, 4)`."""
        logits, deltas = self.head(tuple(features))
        return self._joined(logits, self.num_outputs), self._joined(deltas, 4)

    def decoded(self, logits: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `forward` does, from what `codes` returns."""
        boxes = decode(self.priors, deltas, **self.head.coding)
        if self.head.clips_before_nms():
            boxes = boxes.clamp(min=0).minimum(self.limit)
        return self.head.scores(logits), boxes

    def _joined(self, levels: Sequence[Tensor], values: int) -> Tensor:
        # The number of priors is given instead of the batch size, so that no shape has to be
        # computed at run time for any batch size.
        flat = [
            level.permute(0, 2, 3, 1).reshape(-1, num, values)
            for level, num in zip(levels, self.level_sizes, strict=True)
        ]
        return torch.cat(flat, 1)


def mask_logits(head: nn.Module, features: Sequence[Tensor], geometry: Geometry) -> Tensor:
    """Return logits `(N, num_classes, H, W)` of a decode head at the input's size, as mmseg does.

    They are resized to the network's input, then, without the padding, to the image.
    """
    height, width = geometry.resized_size
    mode = dict(mode='bilinear', align_corners=head.align_corners)
    logits = F.interpolate(head(features), size=geometry.network_size, **mode)
    logits = logits[..., :height, :width]
    if geometry.input_size == geometry.resized_size:
        return logits
    return F.interpolate(logits, size=geometry.input_size, **mode)


class ExportGraph(nn.Module):
    """A whole model from RGB image to outputs.

    Args:
        model: An mmdet `SingleStageDetector` with an `SSDLiteHead`, an mmseg `EncoderDecoder`, a
            `JointModel` or an `ImageClassifier`; a folded copy of it is used.
        geometry: Sizes of the export.

    Raises:
        UserError: If the model is of another kind.
    """

    def __init__(self, model: nn.Module, geometry: Geometry) -> None:
        super().__init__()
        heads_of(model)
        self.model = folded(model)
        self.geometry = geometry
        box_head, self.mask_head, self.image_head = heads_of(self.model)
        self.preprocess = Preprocess(model.data_preprocessor, geometry)
        self.box_output = None
        if box_head is not None:
            with torch.no_grad():
                features = self.model.extract_feat(torch.zeros(1, 3, *geometry.network_size))
                features = box_features(self.model, features)
            self.box_output = BoxOutput(box_head, features, geometry)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map `(N, H, W, 3)` RGB, 0 to 255, to the raw outputs (see `Metadata.output_names`)."""
        return self.raw_outputs(self.preprocess(image))

    def raw_outputs(self, network_input: Tensor) -> tuple[Tensor, ...]:
        """Map the backbone's input, `(N, 3, h, w)`, to the raw outputs."""
        features = self.model.extract_feat(network_input)
        outputs: tuple[Tensor, ...] = ()
        if self.box_output is not None:
            outputs += self.box_output(box_features(self.model, features))
        if self.mask_head is not None:
            outputs += (mask_logits(self.mask_head, features, self.geometry),)
        if self.image_head is not None:
            outputs += (self.image_head(features),)
        return outputs


def box_features(model: nn.Module, features: Sequence[Tensor]) -> Sequence[Tensor]:
    """Return the input of the box head; in a joint model it has a separate neck."""
    return model.det_feats(features) if hasattr(model, 'det_feats') else features


class Heads(NamedTuple):
    """The SSDLite head, the decode head and the classifier's head of a model; `None` for none."""

    box: nn.Module | None
    mask: nn.Module | None
    image: nn.Module | None


# In a model; `head` is a classifier's, `cls_head` that of a joint model.
HEAD_NAMES = ('bbox_head', 'decode_head', 'head', 'cls_head')


def heads_of(model: nn.Module) -> Heads:
    """Return the heads of a model.

    Raises:
        UserError: If it has none, or one of another kind.
    """
    box_head, mask_head, *image_heads = (getattr(model, name, None) for name in HEAD_NAMES)
    image_head = image_heads[0] or image_heads[1]
    if box_head is not None:
        from ...det.head import SSDLiteHead  # a segmentation model needs no mmdet

        if not isinstance(box_head, SSDLiteHead):
            name = type(box_head).__name__
            raise UserError(f'of box heads only SSDLiteHead is exported, got {name}')
    if mask_head is not None and not hasattr(mask_head, 'align_corners'):
        raise UserError(f'{type(mask_head).__name__} is not a decode head of mmseg')
    if image_head is not None:
        from ...cls.classifier_head import ClassifierHead

        if not isinstance(image_head, ClassifierHead):
            name = type(image_head).__name__
            raise UserError(f'of image heads only ClassifierHead is exported, got {name}')
    heads = Heads(box_head, mask_head, image_head)
    if all(head is None for head in heads):
        raise UserError(f'{type(model).__name__} has neither a {" nor a ".join(HEAD_NAMES)}')
    return heads


def describe(
    graph: ExportGraph, summary: ConfigSummary, *, batch_size: int | None, is_raw: bool
) -> Metadata:
    """Return the metadata of an exported graph.

    Args:
        graph: The graph.
        summary: Summary of the config; it names the classes.
        batch_size: Images per call; `None` for any number.
        is_raw: Whether boxes are output before NMS, and logits instead of masks.

    Raises:
        UserError: If the head's `test_cfg` has settings that cannot be exported.
    """
    detection = segmentation = classification = None
    if graph.box_output is not None:
        rules = _box_rules(ConfigDict(graph.box_output.head.test_cfg or {}))
        detection = Detection(
            **_names(summary.box_classes()), **rules, level_sizes=graph.box_output.level_sizes
        )
    head = graph.mask_head
    if head is not None:
        segmentation = Segmentation(
            **_names(summary.mask_classes()), align_corners=head.align_corners
        )
        if (graph.model.test_cfg or {}).get('mode', 'whole') != 'whole':
            raise UserError(
                'an exported file processes whole images: --cfg-options model.test_cfg.mode=whole'
            )
        if head.out_channels == 1:
            raise UserError('a decode head of one channel with a threshold is not exported')
    if graph.image_head is not None:
        classification = Classification(**_names(summary.image_classes()))
    return Metadata(
        **vars(graph.geometry.rules),
        batch_size=batch_size,
        is_raw=is_raw,
        precision='float32',
        detection=detection,
        segmentation=segmentation,
        classification=classification,
    )


def _names(classes: Classes) -> dict:
    palette = tuple(tuple(int(v) for v in colour) for colour in classes.palette)
    return dict(classes=classes.names, palette=palette)


def _box_rules(cfg: ConfigDict) -> dict:
    nms = dict(cfg.get('nms') or {})
    known = {'type', 'iou_threshold', 'split_thr'}
    if nms.get('type', 'nms') != 'nms' or set(nms) - known or 'iou_threshold' not in nms:
        raise UserError(f'only test_cfg.nms=dict(type="nms", iou_threshold=…) is exported: {nms}')
    return dict(
        score_thr=float(cfg.get('score_thr', 0.0)),
        iou_thr=float(nms['iou_threshold']),
        nms_pre=int(cfg.get('nms_pre', -1)),
        max_per_img=int(cfg.get('max_per_img', -1)),
        min_bbox_size=float(cfg.get('min_bbox_size', -1)),
        clip_after_nms=bool(cfg.get('clip_after_nms', False)),
    )
