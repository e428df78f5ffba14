"""TensorFlow's SSDLite and DeepLab as whole models: every tensor where it belongs."""

import numpy as np
import pytest
import torch
from helpers.networks import randomise
from helpers.paths import ROOT
from helpers.tensorflow import (
    COCO_COLUMNS,
    SSDLITE,
    deeplab_layer,
    detector_variables,
    ssdlite_layer,
    variables_of,
    write_graph,
)
from mmengine.registry import MODELS

from mbv2_backbone.weights import load_into
from mbv2_backbone.weights.origin import Origin
from mbv2_backbone.weights.preprocessing import MINUS_ONE_TO_ONE
from mbv2_backbone.weights.runner import _load
from mbv2_backbone.weights.whole_model import read_state_dict
from mbv2_backbone.workbench.configs.read import load_config

# The ids in COCO's annotation files, instances_val2017.json.
COCO_IDS = {
    'person': 1, 'fire hydrant': 11, 'stop sign': 13, 'zebra': 24, 'giraffe': 25, 'backpack': 27,
    'umbrella': 28, 'handbag': 31, 'bottle': 44, 'wine glass': 46, 'potted plant': 64, 'bed': 65,
    'dining table': 67, 'toilet': 70, 'tv': 72, 'refrigerator': 82, 'book': 84, 'toothbrush': 90,
}  # fmt: skip
DETECTOR = 'ssdlite_mbv2_coco_tf'
SEGMENTOR = 'deeplabv3_mbv2_voc12_tf-dm05'
CLASSES = ('zebra', 'unicorn', 'person')
ORIGIN = Origin(MINUS_ONE_TO_ONE, 'same', 1e-3)


def build(name, *options, seed=None):
    cfg = load_config(str(ROOT / f'configs/{name}.py'), list(options))
    model = MODELS.build(cfg.model).eval()
    return model if seed is None else randomise(model, seed=seed).eval()


@pytest.fixture(scope='module')
def detector():
    return build(DETECTOR, seed=1)


@pytest.fixture(scope='module')
def coco_graph(detector, tmp_path_factory):
    return write_graph(
        detector_variables(detector), tmp_path_factory.mktemp('coco') / 'frozen_inference_graph.pb'
    )


def assert_equal(found, expected):
    found, expected = found.state_dict(), expected.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        if not name.endswith('num_batches_tracked'):
            torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


def test_every_tensor_of_a_detector_arrives(coco_graph, detector):
    model = build(DETECTOR)
    report = load_into(model, coco_graph)
    assert report.layout == 'tensorflow'
    assert report.filled == report.total == len(model.state_dict())
    assert not report.left_over
    assert_equal(model, detector)


def test_columns_are_those_of_the_ids_of_coco(coco_graph):
    from mmdet.datasets import CocoDataset

    names = CocoDataset.METAINFO['classes']
    assert {name: COCO_COLUMNS[names.index(name)] for name in COCO_IDS} == COCO_IDS


def test_classes_of_equal_names_are_taken_and_the_others_stay(coco_graph, detector):
    from mmdet.datasets import CocoDataset

    names = CocoDataset.METAINFO['classes']
    model = build(DETECTOR, 'model.bbox_head.num_classes=3', seed=2)
    before = model.bbox_head.cls_convs[1][1].bias.detach().reshape(6, 3).clone()
    report = load_into(model, coco_graph, classes=CLASSES)
    assert report.notes == ('classes taken: zebra, person', 'classes that start anew: unicorn')
    bias = model.bbox_head.cls_convs[1][1].bias.reshape(6, 3)
    trained = detector.bbox_head.cls_convs[1][1].bias.reshape(6, 80)
    assert torch.equal(bias[:, 0], trained[:, names.index('zebra')])
    assert torch.equal(bias[:, 1], before[:, 1])
    assert torch.equal(bias[:, 2], trained[:, names.index('person')])
    assert torch.equal(model.neck.state_dict()['extra_layers.3.0.conv.weight'],
                       detector.neck.state_dict()['extra_layers.3.0.conv.weight'])  # fmt: skip


def test_other_classes_are_refused_without_their_names(coco_graph):
    model = build(DETECTOR, 'model.bbox_head.num_classes=3', seed=2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match='outputs in the checkpoint and 18 in the model'):
        load_into(model, coco_graph)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_whole_checkpoint_of_ours_starts_other_classes(detector):
    classes = (*(f'c{i}' for i in range(79)), 'zebra')
    meta = ORIGIN.to_meta() | dict(dataset_meta=dict(classes=classes))
    trained = dict(state_dict=detector.state_dict(), meta=meta)
    model = build(DETECTOR, 'model.bbox_head.num_classes=3', seed=2)
    report = load_into(model, trained, classes=CLASSES)
    assert report.notes == ('classes taken: zebra', 'classes that start anew: unicorn, person')
    bias = model.bbox_head.cls_convs[0][1].bias.reshape(3, 3)
    assert torch.equal(bias[:, 0], detector.bbox_head.cls_convs[0][1].bias.reshape(3, 80)[:, 79])
    assert torch.equal(
        model.bbox_head.reg_convs[0][1].bias, detector.bbox_head.reg_convs[0][1].bias
    )


def test_the_tools_and_the_runner_read_a_file_as_a_checkpoint(coco_graph, detector):
    for state_dict in (read_state_dict(str(coco_graph)), _load(str(coco_graph))['state_dict']):
        assert state_dict.keys() == detector.state_dict().keys()
        model = build(DETECTOR)
        model.load_state_dict(state_dict)
        assert_equal(model, detector)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize(
    ('name', 'round_to'),
    [(SEGMENTOR, 1), ('deeplabv3_mbv2_voc12_tf', 8), ('deeplabv3_mbv2_cityscapes_tf', 8)],
)
def test_every_tensor_of_a_segmentor_arrives(name, round_to, tmp_path):
    trained = build(name, seed=3)
    graph = write_graph(variables_of(trained, deeplab_layer, 'MobilenetV2/'), tmp_path / 'graph.pb')
    model = build(name)
    report = load_into(model, graph)
    assert report.filled == report.total == len(model.state_dict())
    assert report.round_to == round_to
    assert_equal(model, trained)


def test_the_rule_of_rounding_is_asked_for(tmp_path):
    trained = build(SEGMENTOR, seed=3)
    graph = write_graph(variables_of(trained, deeplab_layer, 'MobilenetV2/'), tmp_path / 'graph.pb')
    with pytest.raises(ValueError, match='Set round_to=1 or use other weights'):
        load_into(build(SEGMENTOR, 'model.backbone.round_to=8'), graph)


def test_atrous_branches_arrive(tmp_path):
    options = ('model.decode_head.dilations=(6,12,18)',)
    trained = build(SEGMENTOR, *options, seed=4)
    graph = write_graph(variables_of(trained, deeplab_layer, 'MobilenetV2/'), tmp_path / 'graph.pb')
    model = build(SEGMENTOR, *options)
    load_into(model, graph)
    assert_equal(model, trained)


def test_a_head_of_another_kind_keeps_its_values_and_says_so(coco_graph):
    model = build('ssdlite_mbv2_coco_plus', 'model.backbone.padding=same', seed=5)
    before = model.neck.state_dict()
    with pytest.warns(UserWarning, match='data_preprocessor'):
        report = load_into(model, coco_graph)
    assert 'neck and head are built otherwise' in report.notes[0]
    assert all(torch.equal(before[name], new) for name, new in model.neck.state_dict().items())


@pytest.mark.parametrize(
    ('name', 'what'),
    [
        ('BoxPredictor_0/BoxEncodingPredictor/weights', 'plain convolutions'),
        ('FeatureExtractor/MobilenetV2/fpn/top_down/weights', 'feature pyramid'),
        ('WeightSharedConvolutionalBoxPredictor/BoxPredictor/weights', 'levels share'),
        ('decoder/feature_projection0/weights', 'decoder'),
    ],
)
def test_other_networks_are_refused_by_name(tmp_path, detector, name, what):
    variables = {
        key: value
        for key, value in variables_of(detector, ssdlite_layer, SSDLITE).items()
        if not key.startswith('BoxPredictor')
    }
    graph = write_graph(variables | {name: np.zeros((1, 1, 4, 8), np.float32)}, tmp_path / 'g.pb')
    model = build(DETECTOR)
    with pytest.raises(ValueError, match=what):
        load_into(model, graph)
    load_into(model.backbone, graph)  # alone, it is a MobileNetV2


def test_a_file_without_predictors_fills_the_backbone(tmp_path, detector):
    variables = variables_of(detector, ssdlite_layer, SSDLITE)
    kept = {name: v for name, v in variables.items() if not name.startswith('BoxPredictor')}
    model = build(DETECTOR)
    report = load_into(model, write_graph(kept, tmp_path / 'graph.pb'))
    assert report.filled == len(model.backbone.state_dict())
    assert 'neck and head are built otherwise' in report.notes[0]


def test_a_neck_that_pads_otherwise_is_told(coco_graph):
    with pytest.warns(
        UserWarning, match="the neck has 'symmetric'. Set in the neck:\npadding='same'"
    ):
        load_into(build(DETECTOR, 'model.neck.padding=symmetric'), coco_graph)
