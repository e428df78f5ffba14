"""Metadata of files that earlier versions wrote, and the type of the input."""

import json
from dataclasses import replace

import pytest

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy.metadata import FORMAT, Detection, Metadata

METADATA = Metadata(
    input_size=(32, 64),
    fit='stretch',
    within=None,
    pad_value=(0, 0, 0),
    interpolation='legacy',
    batch_size=None,
    is_raw=True,
    precision='float32',
    detection=Detection(
        classes=('a',),
        palette=((1, 2, 3),),
        score_thr=0.1,
        iou_thr=0.6,
        nms_pre=-1,
        max_per_img=100,
        min_bbox_size=0,
        level_sizes=(8, 4),
        clip_after_nms=True,
    ),
    segmentation=None,
)


def in_format_2(metadata):
    """Return the strings that the version before wrote, which knew neither setting."""
    strings = metadata.to_strings() | {'format': '2'}
    del strings['interpolation']
    detection = json.loads(strings['detection'])
    if detection:
        del detection['clip_after_nms']
    return strings | {'detection': json.dumps(detection)}


def test_the_new_settings_survive():
    assert FORMAT == METADATA.format == 4
    assert Metadata.from_strings(METADATA.to_strings(), 'x.onnx') == METADATA
    assert 'input_type' not in METADATA.to_strings()  # it follows from the interpolation


@pytest.mark.parametrize('has_boxes', [True, False])
def test_a_file_of_format_2_has_the_defaults(has_boxes):
    written = METADATA if has_boxes else replace(METADATA, detection=None)
    read = Metadata.from_strings(in_format_2(written), 'x.onnx')
    detection = replace(METADATA.detection, clip_after_nms=False) if has_boxes else None
    assert read == replace(METADATA, format=2, interpolation='bilinear', detection=detection)
    assert read.input_type == 'uint8'


@pytest.mark.parametrize('key', ['input_size', 'fit', 'batch_size', 'is_raw', 'detection'])
def test_other_settings_have_no_default(key):
    strings = in_format_2(METADATA)
    del strings[key]
    with pytest.raises(UserError, match='no valid metadata'):
        Metadata.from_strings(strings, 'x.onnx')


@pytest.mark.parametrize('version', ['5', '99'])
def test_a_later_format_is_refused(version):
    strings = METADATA.to_strings() | {'format': version}
    with pytest.raises(UserError, match=f'format {version}, this mbv2_backbone runs 4: update it'):
        Metadata.from_strings(strings, 'x.onnx')


def test_only_tensorflows_rule_gives_float32():
    assert METADATA.input_type == 'float32'
    assert replace(METADATA, interpolation='bilinear').input_type == 'uint8'
