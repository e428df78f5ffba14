"""Exported files in each runtime against the model in its toolbox."""

from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from helpers.deploy import DETECTION, JOINT, SEGMENTATION, random_images
from helpers.exported import RUNTIMES, Case, assert_same_boxes

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy import Predictor
from mbv2_backbone.workbench.configs.summary import summarise
from mbv2_backbone.workbench.export.graph import ExportGraph, describe
from mbv2_backbone.workbench.export.reference import Reference, as_prediction
from mbv2_backbone.workbench.predict.fold import folded

pytestmark = pytest.mark.runtime


@pytest.fixture(scope='module')
def det(sample_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp('det')
    return Case(folder, DETECTION, 'ssdlite_mbv2_sample', sample_dataset, batch_size=None)


@pytest.fixture(scope='module')
def seg(sample_dataset, tmp_path_factory):
    return Case(
        tmp_path_factory.mktemp('seg'), SEGMENTATION, 'deeplabv3_mbv2_sample', sample_dataset
    )


@pytest.fixture(scope='module')
def joint(sample_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp('joint')
    base = 'ssdlite-deeplabv3_mbv2_sample'
    return Case(folder, JOINT, base, sample_dataset, size=(96, 144))


@pytest.mark.parametrize('kind', ['raw', 'final'])
@pytest.mark.parametrize(('name', 'runtime'), RUNTIMES)
def test_boxes_equal_mmdets_for_every_runtime_and_batch(det, kind, name, runtime):
    predictor = Predictor(det.folder / kind / name, runtime=runtime, threads=1)
    # 192 x 144 is resized outside the file: by OpenCV in the toolbox, bit for bit the same here.
    images = list(random_images(3, (192, 144)))
    found = predictor.predict(images)
    assert_same_boxes(found, [as_prediction(sample) for sample in det.predict(images)])
    for image, together in zip(images, found, strict=True):
        assert np.allclose(predictor(image).boxes, together.boxes, atol=1e-3)
    assert set(found[0].names) <= {'disc', 'square', 'triangle', 'star'}
    assert found[0].mask is None


def test_a_file_describes_its_content(det):
    stored = {
        prop.key: prop.value
        for prop in onnx.load(det.folder / 'final' / 'model.onnx').metadata_props
    }
    metadata = Predictor(det.folder / 'final' / 'model.onnx').metadata
    assert stored == metadata.to_strings()
    assert metadata == Predictor(det.folder / 'final' / 'model.xml').metadata
    assert metadata.input_size == (128, 128)
    assert metadata.detection.classes == ('disc', 'square', 'triangle', 'star')
    assert metadata.detection.palette[1] == (0, 130, 200)
    assert metadata.detection.score_thr == 0.05
    assert metadata.detection.max_per_img == 60


def test_the_graph_is_clean(det):
    """Batch norms are folded, priors are constants, no shape is computed in the network."""
    kinds = Counter(node.op_type for node in det.raw_onnx.graph.node)
    assert not {'BatchNormalization', 'Shape', 'Gather', 'Unsqueeze', 'Range'} & kinds.keys()
    convolutions = sum(isinstance(m, torch.nn.Conv2d) for m in det.model.modules())
    assert kinds['Conv'] == convolutions
    assert kinds['Transpose'] == 1 + 2 * 5  # the image, and the two outputs of each level
    size = sum(onnx.numpy_helper.to_array(t).nbytes for t in det.final_onnx.graph.initializer)
    learned = sum(p.numel() for p in folded(det.model).parameters()) * 4
    assert learned < size < 1.05 * learned


def test_folding_changes_nothing_and_leaves_the_model_alone(det):
    images = torch.randn(2, 3, 64, 96)
    before = {key: value.clone() for key, value in det.model.state_dict().items()}
    folded_model = folded(det.model)
    with torch.no_grad():
        pairs = zip(det.model._forward(images), folded_model._forward(images), strict=True)
        for expected, given in pairs:
            for a, b in zip(expected, given, strict=True):
                assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)
    assert not [m for m in folded_model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all(torch.equal(before[key], value) for key, value in det.model.state_dict().items())
    with pytest.raises(ValueError, match='do not directly follow'):
        folded(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.BatchNorm2d(3)))


@pytest.mark.parametrize('kind', ['raw', 'final'])
@pytest.mark.parametrize(('name', 'runtime'), RUNTIMES)
def test_masks_equal_mmsegs_for_every_runtime_and_batch(seg, kind, name, runtime):
    predictor = Predictor(seg.folder / kind / name, runtime=runtime, threads=1)
    # Both resize the image to 144 pixels and the logits back to 96.
    images = list(random_images(3, (96, 96)))
    found = predictor.predict(images)
    for prediction, sample in zip(found, seg.predict(images), strict=True):
        expected = sample.pred_sem_seg.data[0].numpy()
        assert len(np.unique(expected)) > 1
        assert prediction.mask.dtype == np.uint8
        # The one row and column of padding are whole levels in the file.
        assert (prediction.mask == expected).mean() > 0.995
        assert len(prediction.boxes) == 0
    assert predictor(random_images(1, (50, 200))[0]).mask.shape == (50, 200)


@pytest.mark.parametrize('kind', ['raw', 'final'])
@pytest.mark.parametrize(('name', 'runtime'), RUNTIMES)
def test_a_joint_file_resizes_inside_and_gives_both(joint, kind, name, runtime):
    predictor = Predictor(joint.folder / kind / name, runtime=runtime, threads=1)
    assert predictor.metadata.task == 'joint'
    assert predictor.metadata.segmentation.classes[0] == 'background'
    assert predictor.metadata.input_size == (96, 144)
    images = list(random_images(2, (96, 144)))
    found = predictor.predict(images)
    expected = Reference(joint.cfg, joint.model, joint.geometry).predict(images)
    assert_same_boxes(found, expected)
    for given, sample in zip(found, expected, strict=True):
        assert given.mask.shape == (96, 144)
        assert len(np.unique(given.mask)) > 1
        assert (given.mask == sample.mask).mean() > 0.999


def test_inputs_of_another_size_or_type_are_refused(det, tmp_path):
    predictor = Predictor(det.folder / 'final' / 'model.onnx')
    with pytest.raises(UserError, match=r'\(.N., 128, 128, 3\)'):
        predictor.run(np.zeros((1, 64, 64, 3), np.uint8))
    with pytest.raises(UserError, match='float32'):
        predictor.run(np.zeros((1, 128, 128, 3), np.float32))
    with pytest.raises(UserError, match='no image at'):
        predictor('nowhere.jpg')
    (tmp_path / 'bad.jpg').write_bytes(b'\xff\xd8\xff\xe0 no more')
    with pytest.raises(UserError, match=r'bad\.jpg cannot be read as an image'):
        predictor.predict([np.zeros((128, 128, 3), np.uint8), tmp_path / 'bad.jpg'])
    assert predictor.predict([]) == []


def test_unsupported_models_are_named(det, seg):
    with pytest.raises(UserError, match='neither a bbox_head'):
        ExportGraph(det.model.backbone, det.geometry)
    for key, value, message in (
        ('nms', dict(type='soft_nms', iou_threshold=0.5), 'only test_cfg.nms'),
        ('nms', None, 'only test_cfg.nms'),
    ):
        graph = ExportGraph(det.model, det.geometry)
        graph.box_output.head.test_cfg = dict(graph.box_output.head.test_cfg, **{key: value})
        with pytest.raises(UserError, match=message):
            describe(graph, summarise(det.cfg), batch_size=1, is_raw=True)
    graph = ExportGraph(seg.model, seg.geometry)
    graph.model.test_cfg = dict(mode='slide')
    with pytest.raises(UserError, match='mode=whole'):
        describe(graph, summarise(seg.cfg), batch_size=1, is_raw=True)
