"""Core ML files, read back and run by the interpreter, against the model in its toolbox."""

import importlib.metadata
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.deploy import exporter
from helpers.rules import RULES, SIZE

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy import Predictor
from mbv2_backbone.deploy.metadata import Metadata
from mbv2_backbone.deploy.nms import select_boxes
from mbv2_backbone.workbench.export.formats import check_format
from mbv2_backbone.workbench.predict.exported_model import predictor_of

pytestmark = pytest.mark.runtime
METADATA = Metadata(
    input_size=SIZE, fit='stretch', within=None, pad_value=(0, 0, 0), batch_size=1, is_raw=False,
    precision='float16', detection=RULES, segmentation=None,
)  # fmt: skip


@pytest.fixture(scope='module')
def to_coreml(sample_dataset, tmp_path_factory):
    return exporter(tmp_path_factory.mktemp('coreml'), sample_dataset, 'coreml')


@pytest.fixture(scope='module')
def det(to_coreml):
    return to_coreml('det')


@pytest.fixture(scope='module')
def spec(det):
    import coremltools

    return coremltools.utils.load_spec(det.path)


def test_a_detector_is_a_program_and_core_mls_nms(det, spec):
    assert det.problems() == [], str(det)
    assert det.comparison.num_matched > 50
    assert [path.name for path in Path(det.path).parent.iterdir()] == [Path(det.path).name]
    _, nms = spec.pipeline.models
    stage = nms.nonMaximumSuppression
    assert stage.pickTop.perClass
    assert stage.iouThreshold == pytest.approx(0.45)
    assert stage.confidenceThreshold == pytest.approx(0.05)
    assert np.float32(stage.confidenceThreshold) > np.float32(0.05)
    assert list(stage.stringClassLabels.vector) == ['disc', 'square', 'triangle', 'star']
    assert {o.name for o in spec.description.output} == {'confidence', 'coordinates'}
    for output in spec.description.output:
        assert output.type.multiArrayType.shapeRange.sizeRanges[0].upperBound == 60
    (image,) = spec.description.input
    assert (image.type.imageType.height, image.type.imageType.width) == (128, 128)


def test_a_file_holds_its_metadata(det, spec):
    stored = spec.description.metadata.userDefined
    assert dict(stored) == det.metadata.to_strings()
    assert json.loads(stored['precision']) == 'float16'
    assert predictor_of(det.path).metadata == det.metadata


def test_the_network_is_in_half_precision_and_the_rest_is_not(spec):
    (main,) = spec.pipeline.models[0].mlProgram.functions.values()
    (block,) = main.block_specializations.values()
    kinds = {}
    for operation in block.operations:
        kind = operation.outputs[0].type.tensorType.dataType
        kinds.setdefault(operation.type, set()).add(kind)
    half, single = 10, 11  # MIL.proto's FLOAT16 and FLOAT32
    assert kinds['conv'] == {half}
    assert kinds['exp'] == kinds['softmax'] == {single}
    assert 'batch_norm' not in kinds


def test_a_second_export_replaces_the_first(det, tmp_path):
    from mbv2_backbone.workbench.export.export import _replace

    for name in ('old', 'new'):
        shutil.copytree(det.path, tmp_path / name / 'x.mlpackage')
    (tmp_path / 'old' / 'x.mlpackage' / 'stale').touch()
    _replace(str(tmp_path / 'new' / 'x.mlpackage'), str(tmp_path / 'old' / 'x.mlpackage'))
    assert not (tmp_path / 'old' / 'x.mlpackage' / 'stale').exists()
    assert (tmp_path / 'old' / 'x.mlpackage' / 'Manifest.json').exists()


def test_a_broken_file_is_refused(det, tmp_path):
    for name in ('model.mlmodel', 'weight.bin'):
        path = tmp_path / name / 'x.mlpackage'
        shutil.copytree(det.path, path)
        (part,) = path.rglob(name)
        part.write_bytes(part.read_bytes()[: part.stat().st_size // 2])
        with pytest.raises(UserError, match=r'is it complete|no valid metadata'):
            predictor_of(str(path))


def test_a_predictor_says_where_a_file_runs(det):
    with pytest.raises(UserError, match='runs in an app on Apple devices'):
        Predictor(det.path)


@pytest.mark.parametrize('change', [
    {},
    dict(nms_pre=20),
    dict(max_per_img=4),
    dict(max_per_img=-1, score_thr=0.0),
    dict(min_bbox_size=-1),
    dict(min_bbox_size=20, nms_pre=20),
    dict(score_thr=0.999),
], ids=str)  # fmt: skip
def test_core_mls_nms_chooses_the_boxes_that_numpy_chooses(rng, change):
    from coremltools.proto import Model_pb2

    from mbv2_backbone.workbench.export.to_coreml import nms_inputs, with_nms
    from mbv2_backbone.workbench.predict.mil_interpreter import corners_of, suppress

    rules = replace(RULES, **change)
    centre, half = rng.uniform(0, 1, (72, 2)) * SIZE[::-1], rng.uniform(2, 25, (72, 2))
    boxes = np.concatenate([centre - half, centre + half], 1).astype(np.float32)
    scores = rng.uniform(0, 0.9, (72, 3)).astype(np.float32)
    program = Model_pb2.Model()
    for name in ('all_confidence', 'all_coordinates'):
        program.description.output.add(name=name)
    stage = with_nms(program, rules).pipeline.models[1]
    limit = stage.description.output[0].type.multiArrayType.shapeRange.sizeRanges[0].upperBound
    rows = nms_inputs(torch.from_numpy(scores), torch.from_numpy(boxes), rules, SIZE)
    confidence, coordinates = suppress(
        *(row.numpy() for row in rows), stage.nonMaximumSuppression, limit
    )
    expected = select_boxes(scores, boxes, rules, SIZE)
    found = corners_of(coordinates) * np.tile(SIZE[::-1], 2)
    np.testing.assert_allclose(found, expected[0], atol=1e-3)
    np.testing.assert_array_equal(confidence.max(1, initial=0), expected[1])
    np.testing.assert_array_equal(confidence.argmax(1), expected[2])
    assert (np.count_nonzero(confidence, 1) == 1).all()


@pytest.mark.parametrize(
    ('rules', 'message'),
    [
        (dict(clip_after_nms=True), r'cannot clip boxes after NMS .*--raw'),
        (dict(level_sizes=(8000,)), r'24000 pairs of box and class .*nms_pre=1000'),
    ],
)
def test_rules_that_core_ml_does_not_know_are_refused(rules, message):
    from mbv2_backbone.workbench.export.to_coreml import check_metadata

    metadata = replace(METADATA, detection=replace(RULES, **rules))
    with pytest.raises(UserError, match=message):
        check_metadata(metadata)
    check_metadata(replace(metadata, is_raw=True))


def test_the_rules_are_checked_before_anything_is_written(to_coreml):
    with pytest.raises(UserError, match='clip boxes after NMS'):
        to_coreml('tensorflow')
    with pytest.raises(UserError, match='--size takes height and width'):
        to_coreml('det', size=(0, 128))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(int8='default'), 'not for coreml'),
        (dict(dynamic_batch=True), 'a coreml file takes one image at a time'),
        (dict(precision='float64'), 'only float16 and float32'),
    ],
)
def test_what_the_format_cannot_do_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        check_format('coreml', **options)
    with pytest.raises(UserError, match='float16 is not available for onnx'):
        check_format('onnx', precision='float16')


def test_an_older_version_is_named(monkeypatch):
    monkeypatch.setattr('mbv2_backbone.workbench.export.formats.version', lambda _: '8.3.0')
    with pytest.raises(UserError, match=r"need coremltools>=9, .*pip install 'coremltools>=9'"):
        check_format('coreml')
    monkeypatch.undo()
    assert importlib.metadata.version('coremltools') >= '9'
