"""LiteRT files: layout, 8 bits, metadata; what the format cannot do is refused by name."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.deploy import exporter, random_images

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy import Predictor
from mbv2_backbone.workbench.export import formats

pytestmark = pytest.mark.runtime


@pytest.fixture(scope='module')
def exported(sample_dataset, tmp_path_factory):
    return exporter(tmp_path_factory.mktemp('litert'), sample_dataset, 'litert')


def test_channels_come_last_and_nothing_is_transposed(exported):
    from ai_edge_litert import schema_py_generated as schema

    from mbv2_backbone.workbench.export.tflite_model import kind_of, outputs_of, read

    for model, names in (
        ('det', ['boxes', 'labels', 'scores', 'count']),
        ('seg', ['mask', 'logits']),
    ):
        data = Path(exported(model, int8=dict(det='strict', seg=True)[model]).path).read_bytes()
        read_back = read(data)
        graph = read_back.subgraphs[0]
        kinds = {kind_of(read_back, operator) for operator in graph.operators}
        assert schema.BuiltinOperator.TRANSPOSE not in kinds
        assert (schema.BuiltinOperator.CUSTOM in kinds) == (model == 'det')
        assert list(outputs_of(read_back)) == names
        image = graph.tensors[graph.inputs[0]]
        assert (image.type, image.shape[-1]) == (schema.TensorType.UINT8, 3)
        assert b'.py' not in data


def test_8_bits_come_close(exported):
    # Of this untrained segmentor's logits onnxruntime's 8 bits are 0.27 standard deviations away.
    for model, kind, allowed in (('det', 'strict', 0.1), ('seg', True, 0.3)):
        result = exported(model, int8=kind)
        assert result.problems() == []
        exact, rough = Predictor(result.path), Predictor(result.quantised.path)
        image = random_images(1, exact.metadata.input_size, seed=3)
        given, expected = rough.run(image), exact.run(image)
        if model == 'seg':
            spread = expected['logits'].std()
            assert np.abs(given['logits'] - expected['logits']).mean() < allowed * spread
            continue
        assert rough.metadata.is_raw
        assert rough.metadata.precision == 'int8'
        assert np.abs(given['scores']).max() > 0.1
        found = rough.predict(list(image))[0]
        assert len(found.boxes) > 0.5 * len(exact.predict(list(image))[0].boxes)
        assert given['boxes'].min() >= 0
        assert given['boxes'].max() <= max(exact.metadata.input_size)


def test_strict_files_hold_integers_alone(exported):
    from ai_edge_litert.interpreter import Interpreter

    path = exported('det', int8='strict').quantised.path
    assert path.endswith('_int8_strict.tflite')
    interpreter = Interpreter(model_path=path)
    types = {detail['dtype'] for detail in interpreter.get_tensor_details()}
    assert types <= {np.int8, np.int32}


def test_what_the_operator_cannot_do_is_refused_first(exported):
    with pytest.raises(UserError, match=r'clip boxes after NMS .*--raw'):
        exported('tensorflow')
    with pytest.raises(UserError, match='one image at a time'):
        exported('det', dynamic_batch=True)


def test_without_the_converter(monkeypatch):
    monkeypatch.setattr(formats, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r'litert files need litert_torch.*-r litert\.txt'):
        formats.check_format('litert')


def test_the_converter_of_another_version(exported, monkeypatch):
    import litert_torch

    monkeypatch.delattr(litert_torch, 'convert')
    with pytest.raises(UserError, match=r'not one that this package works with.*litert\.txt'):
        exported('det', is_raw=True)


def test_the_metadata_is_read_with_zipfile_alone(exported):
    result = exported('seg', int8=True)
    with zipfile.ZipFile(result.path) as archive:
        assert json.loads(archive.read('metadata.json')) == result.metadata.to_strings()
        labels = archive.read('mask_labels.txt').decode().splitlines()
    assert tuple(labels) == result.metadata.segmentation.classes
