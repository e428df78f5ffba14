"""Every model through every format, from checkpoint to prediction; broken files are refused."""

import json
import shutil
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.deploy import EXPORTABLE, exporter, random_images

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy import Predictor
from mbv2_backbone.workbench.export.formats import FORMATS
from mbv2_backbone.workbench.predict.exported_model import predictor_of
from mbv2_backbone.workbench.predict.predict import predict
from mbv2_backbone.workbench.run import evaluate

pytestmark = pytest.mark.runtime
BOXES, MASKS, CLASSES = {'scores', 'boxes'}, {'logits'}, {'class_logits'}
RAW_OUTPUTS = dict.fromkeys(EXPORTABLE, MASKS) | {
    'det': BOXES,
    'pyramid': BOXES,
    'tensorflow': BOXES,
    'joint': BOXES | MASKS,
    'three': BOXES | MASKS | CLASSES,
    'cls': CLASSES,
    'slim': CLASSES,
}
SIZES = {  # height and width; the others have the config's, which is a square
    'pyramid': (96, 144),
    'aspp': (97, 129),
    'deeplabv3plus': (97, 129),
    'lraspp': (97, 129),
    'joint': (96, 144),
    'three': (96, 144),
}
# Web pages are in test_to_web.py.
TESTED = ('onnx', 'openvino', 'ncnn', 'torch-export', 'executorch', 'litert', 'coreml')
HALF = ('seg', 'cls')  # in half precision with Core ML
OPTIONS = {
    ('coreml', model): dict(precision='float32') for model in EXPORTABLE if model not in HALF
}
OPTIONS['coreml', 'tensorflow'] = dict(is_raw=True, precision='float32')
OPTIONS['litert', 'tensorflow'] = dict(is_raw=True)
# What takes long to convert is in the default run with these models alone, ExecuTorch with none;
# test_to_litert.py and test_to_coreml.py convert `det` too.
QUICK = dict.fromkeys(TESTED, tuple(model for model in EXPORTABLE if model != 'three')) | {
    'litert': ('joint', 'cls'),
    'coreml': ('joint', 'cls'),
    'executorch': (),
}
PARTS = {
    'openvino': ['.xml', '.bin'],
    'executorch': ['.pte', '.json'],
    'ncnn': ['.param', '.bin', '.json'],
}


def cases(models):
    """Return formats and models as parameters, the long ones marked."""
    return [
        pytest.param(to, model, marks=[] if model in QUICK.get(to, models) else [pytest.mark.slow])
        for to, model in product(TESTED, models)
    ]


@pytest.fixture(scope='module')
def exported(sample_dataset, tmp_path_factory):
    """A function that exports each model once to each format."""
    result = exporter(tmp_path_factory.mktemp('models'), sample_dataset)

    def of(to, model):
        options = dict(OPTIONS.get((to, model), {}))
        if FORMATS[to].has_dynamic_batch and model in ('pyramid', 'seg', 'joint', 'slim'):
            options['dynamic_batch'] = True
        if model in SIZES:
            options['size'] = SIZES[model]
        return result(model, to=to, **options)

    of.model = result.model
    return of


@pytest.mark.parametrize(('to', 'model'), cases(EXPORTABLE))
def test_a_format_supports_a_model(exported, to, model):
    result = exported(to, model)
    assert result.problems() == []
    assert result.comparison.raw.keys() == RAW_OUTPUTS[model]
    has_boxes, has_masks = 'boxes' in RAW_OUTPUTS[model], 'logits' in RAW_OUTPUTS[model]
    has_classes = 'class_logits' in RAW_OUTPUTS[model]
    if has_boxes:
        assert result.comparison.num_matched > 50
    assert (result.comparison.equal_pixels is not None) == has_masks
    assert (result.comparison.num_equal_classes > 0) == has_classes
    predictor = predictor_of(result.path)
    assert predictor.metadata == result.metadata
    found = predictor.predict(list(random_images(2, (150, 170))))
    assert len(found) == 2
    for prediction in found:
        assert (len(prediction.boxes) > 0) == has_boxes
        assert (prediction.mask is not None) == has_masks
        assert (prediction.probabilities is not None) == has_classes
        assert prediction.mask is None or prediction.mask.shape == (150, 170)


@pytest.mark.parametrize(('to', 'model'), cases(['joint']))
def test_a_file_stands_for_the_checkpoint(exported, sample_dataset, tmp_path, to, model):
    config, _, options = exported.model(model)
    images = str(sample_dataset / 'JPEGImages' / 'val_*.jpg')
    figures, rows = [], []
    for name in ('onnx', to):
        path = exported(name, model).path
        figures.append(evaluate(config, path, work_dir=str(tmp_path), cfg_options=options))
        predict(config, path, images, out=tmp_path / name, draw=False, cfg_options=options)
        rows.append(json.loads((tmp_path / name / 'predictions.json').read_text()))
    assert figures[1] == pytest.approx(figures[0], abs=0.01)
    assert max(figures[0].values()) > 0.05
    expected, found = ([row for row in some if row.get('score', 0) > 0.35] for some in rows)
    assert 0 < len(expected) == pytest.approx(len(found), rel=0.01)
    masks = [_masks(tmp_path / name) for name in ('onnx', to)]
    assert (masks[0] == masks[1]).mean() > 0.995


def _masks(folder):
    return np.stack([cv2.imread(str(path)) for path in sorted((folder / 'masks').glob('*.png'))])


@pytest.mark.parametrize(
    ('to', 'model'), [case for case in cases(['joint']) if case.values[0] != 'coreml']
)
def test_a_partly_copied_file_is_refused(exported, tmp_path, to, model):
    path = Path(exported(to, model).path)
    suffixes = PARTS.get(to, [path.suffix])
    for suffix, share in product(suffixes, (0.0, 0.5, 0.99)):
        folder = tmp_path / f'{suffix}{share}'
        shutil.copytree(path.parent, folder)
        part = (folder / path.name).with_suffix(suffix)
        part.write_bytes(part.read_bytes()[: int(share * part.stat().st_size)])
        with pytest.raises(UserError, match=r'is it complete|no valid metadata|is refused'):
            Predictor(folder / path.name)


@pytest.mark.slow
def test_an_executorch_file_needs_its_metadata(exported, tmp_path):
    path = Path(exported('executorch', 'joint').path)
    with pytest.raises(UserError, match=r'json next to it'):
        Predictor(shutil.copy(path, tmp_path))
