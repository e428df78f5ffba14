"""An exported file as a model for the runner, the metrics and the visualisation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from ...common.messages import UserError
from ...deploy.predictor import Prediction, Predictor
from ...deploy.runtime_files import import_runtime
from ...deploy.runtimes import SUFFIXES
from ..configs.plan import Step, step
from ..configs.read import RESIZES, inner_dataset, type_name
from ..configs.summary import ConfigSummary


@MODELS.register_module()
class ExportedModel(BaseModel):
    """An exported file that answers `test_step` as a model of the toolboxes or a classifier does.

    It takes images of any size and resizes them to its input size.

    Args:
        path: A file that `tools/export.py` wrote.
        data_preprocessor: Not used: the file normalises. mmengine's runner passes the config's.
    """

    def __init__(self, *, path: str, data_preprocessor: dict | None = None) -> None:  # noqa: ARG002
        super().__init__()
        self.predictor = predictor_of(path)

    def forward(self, *_args: Any, **_kwargs: Any) -> None:
        """Refuse: there is no torch module behind an exported file."""
        raise RuntimeError('an exported model predicts through test_step only; it cannot train')

    def test_step(self, data: dict) -> list[BaseDataElement]:
        """Predict on a batch of the data loader: BGR uint8 images `(3, H, W)` and samples."""
        images = [np.ascontiguousarray(x.numpy()[::-1].transpose(1, 2, 0)) for x in data['inputs']]
        found = self.predictor.predict(images)
        for sample, prediction in zip(data['data_samples'], found, strict=True):
            for name in ('gt_instances', 'ignored_instances'):
                boxes = sample.get(name, {}).get('bboxes')
                if hasattr(boxes, 'tensor'):  # mmdet's data preprocessor turns them into tensors
                    sample.get(name).bboxes = boxes.tensor
            self._fill(sample, prediction)
        return data['data_samples']

    val_step = test_step

    def _fill(self, sample: BaseDataElement, prediction: Prediction) -> None:
        metadata = self.predictor.metadata
        if metadata.detection:
            sample.pred_instances = InstanceData(
                bboxes=torch.from_numpy(prediction.boxes),
                scores=torch.from_numpy(prediction.scores),
                labels=torch.from_numpy(prediction.labels),
            )
        if metadata.segmentation:
            # mmdet calls a label map sem_seg, mmseg calls it data.
            name = 'sem_seg' if metadata.detection else 'data'
            labels = torch.from_numpy(prediction.mask.astype(np.int64))
            sample.pred_sem_seg = PixelData(**{name: labels[None]})
        if metadata.classification:
            sample.pred_scores = torch.from_numpy(prediction.probabilities)
            sample.pred_label = sample.pred_scores.argmax()


def predictor_of(path: str) -> Predictor:
    """Return what runs an exported file; Core ML's run as Apple documents them, without Core ML.

    Raises:
        UserError: If the file cannot be read, or what runs it is missing.
    """
    path = path.rstrip('/')
    if not path.endswith(SUFFIXES['coreml']):
        return Predictor(path)
    import_runtime('coremltools')
    from .mil_interpreter import load

    return Predictor.of(load(path))


def exported_steps(path: str, summary: ConfigSummary) -> list[Step]:
    """Return the steps that replace a config's model by an exported file."""
    return [use_exported(path, summary), keep_image_size()]


@step('exported file', 'The exported file replaces the model.')
def use_exported(cfg: Config, path: str, summary: ConfigSummary) -> None:
    """Replace a config's model by an exported file.

    It takes images at their original size, so `keep_image_size` is needed, too.

    Raises:
        UserError: If the file cannot be read, or its task or classes differ from the config's.
    """
    metadata = predictor_of(path).metadata
    for what, given, classes in (
        ('boxes', metadata.detection, summary.box_classes()),
        ('masks', metadata.segmentation, summary.mask_classes()),
        ('classes of whole images', metadata.classification, summary.image_classes()),
    ):
        if bool(classes.names) != (given is not None):
            does, do = ('gives', 'predicts no') if given else ('gives no', 'predicts')
            raise UserError(
                f'{path} {does} {what}, but the model of the config {do} {what}: give the config '
                f'that the file was exported with'
            )
        if given and tuple(given.classes) != classes.names:
            raise UserError(
                f'{path} predicts the classes {", ".join(given.classes[:6])}, the data of the '
                f'config has {", ".join(classes.names[:6])}; give the config it was exported with'
            )
    cfg.model = ConfigDict(type='ExportedModel', _scope_='mmengine', path=path)
    cfg.load_from = None
    # The other hooks are for training and for weights that the file no longer has.
    cfg.custom_hooks = [h for h in cfg.get('custom_hooks') or [] if h['type'] == 'PictureHook']
    # No loader processes: OpenVINO's threads do not survive a fork.
    cfg.test_dataloader.num_workers = 0
    cfg.test_dataloader.persistent_workers = False
    cfg.test_dataloader.pop('prefetch_factor', None)


@step('image size', 'The exported file resizes the images itself.')
def keep_image_size(cfg: Config) -> None:
    """Make the test pipeline of a config keep the size of the images."""
    dataset = inner_dataset(cfg.test_dataloader.dataset)
    whole = [step for step in dataset.pipeline if type_name(step) != 'CentreView']
    # A Resize by 1 replaces the old one, because of the metadata that it writes.
    dataset.pipeline = [
        ConfigDict(
            type='mmdet.Resize' if type_name(transform) == 'LegacyResize' else transform['type'],
            scale_factor=1.0,
            keep_ratio=True,
        )
        if type_name(transform) in RESIZES
        else transform
        for transform in whole
    ]
