"""Exports of SSDLite as TensorFlow runs it: padding, sigmoids, resizing, clipping after NMS."""

import numpy as np
import pytest
import torch
from helpers.deploy import TENSORFLOW, random_images, write_config
from helpers.exported import RUNTIMES, Case, assert_same_boxes
from torch import nn

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy import Predictor
from mbv2_backbone.workbench.configs.summary import summarise
from mbv2_backbone.workbench.export.export import check_trained, export
from mbv2_backbone.workbench.export.measure import evaluate_exported
from mbv2_backbone.workbench.export.reference import Reference, as_prediction

pytestmark = pytest.mark.runtime


@pytest.fixture(scope='module')
def tensorflow(sample_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp('tensorflow')
    return Case(folder, TENSORFLOW, 'ssdlite_mbv2_sample', sample_dataset, batch_size=None)


@pytest.mark.parametrize('kind', ['raw', 'final'])
@pytest.mark.parametrize(('name', 'runtime'), RUNTIMES)
def test_an_exported_file_predicts_as_the_head_does(tensorflow, kind, name, runtime):
    predictor = Predictor(tensorflow.folder / kind / name, runtime=runtime, threads=1)
    assert predictor.metadata.interpolation == 'legacy'
    assert predictor.metadata.detection.clip_after_nms
    images = [random_images(1, size, seed=7)[0] for size in ((192, 144), (90, 200), (128, 128))]
    found = predictor.predict(images)
    assert_same_boxes(found, [as_prediction(sample) for sample in tensorflow.predict(images)])
    for image, prediction in zip(images, found, strict=True):
        assert len(prediction.boxes) == 60
        assert (prediction.boxes >= 0).all()
        assert (prediction.boxes <= np.tile(image.shape[1::-1], 2)).all()
        assert (prediction.boxes[:, 2:] > prediction.boxes[:, :2]).all()
    assert predictor.predict([]) == []


def test_raw_outputs_are_the_models(tensorflow):
    predictor = Predictor(tensorflow.folder / 'raw' / 'model.onnx', threads=1)
    images = random_images(2, (128, 128))
    outputs = predictor.run(images.astype(np.float32))
    reference = Reference(tensorflow.cfg, tensorflow.model, tensorflow.geometry).raw(images)
    np.testing.assert_allclose(outputs['scores'], reference['scores'], atol=1e-4)
    np.testing.assert_allclose(outputs['boxes'], reference['boxes'], atol=0.01)
    assert outputs['boxes'].min() < -1  # not clipped
    assert outputs['boxes'].max() > 129


def test_images_are_not_rounded(tensorflow):
    predictor = Predictor(tensorflow.folder / 'raw' / 'model.onnx', threads=1)
    images = random_images(2, (128, 128))
    exact = images.astype(np.float32)
    scores = predictor.run(exact)['scores']
    assert not np.array_equal(predictor.run(exact + 0.4)['scores'], scores)
    with pytest.raises(UserError, match='expected float32 images'):
        predictor.run(images)


def test_an_exported_file_is_evaluated_on_images_of_any_size(tensorflow):
    path = str(tensorflow.folder / 'final' / 'model.onnx')
    metrics = evaluate_exported(tensorflow.cfg, summarise(tensorflow.cfg), path)
    assert 0 <= metrics['coco/bbox_mAP'] <= 1


def test_8_bits_are_calibrated_and_measured_with_images_that_are_not_rounded(
    sample_dataset, tmp_path
):
    config, checkpoint, options = write_config(
        tmp_path, TENSORFLOW, 'ssdlite_mbv2_sample', sample_dataset
    )
    result = export(
        config, checkpoint, to='onnx', out=str(tmp_path / 'int8'), int8=True, num_images=2,
        num_calibration=8, cfg_options=options,
    )  # fmt: skip
    assert result.problems() == []
    predictor = Predictor(result.quantised.path, threads=1)
    assert predictor.metadata.input_type == 'float32'
    assert len(predictor(random_images(1, (100, 120))[0]).boxes) == 60


def test_norms_that_were_folded_are_trained():
    norm = nn.BatchNorm2d(4)
    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), norm)
    with pytest.raises(UserError, match='not trained: no batch norm has seen an image'):
        check_trained(model, 'x.pth')
    with torch.no_grad():
        norm.bias[2] = 0.1
    check_trained(model, 'x.pth')
    with torch.no_grad():
        norm.bias.zero_()
        norm.running_mean[1] = 0.1
    check_trained(model, 'x.pth')
    with torch.no_grad():
        norm.running_var[0] = float('inf')
    with pytest.raises(UserError, match='NaN or infinite'):
        check_trained(model, 'x.pth')
    check_trained(nn.Conv2d(3, 4, 1), 'x.pth')
