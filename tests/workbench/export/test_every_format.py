"""Every format from checkpoint to prediction, for boxes and masks; broken files are refused."""

import shutil
from functools import cache
from itertools import product
from pathlib import Path

import pytest
from helpers.deploy import DETECTION, JOINT, PYRAMID, SEGMENTATION, random_images, write_config

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy import Predictor
from mbv2_backbone.workbench.export.export import export

pytestmark = pytest.mark.runtime
TASKS = {
    'det': (DETECTION, 'ssdlite_mbv2_sample'),
    'pyramid': (PYRAMID, 'ssdlite_mbv2_sample'),
    'seg': (SEGMENTATION, 'deeplabv3_mbv2_sample'),
    'joint': (JOINT, 'ssdlite-deeplabv3_mbv2_sample'),
}
BOXES, MASKS = {'scores', 'boxes'}, {'logits'}
RAW_OUTPUTS = {'det': BOXES, 'pyramid': BOXES, 'seg': MASKS, 'joint': BOXES | MASKS}
# Format, task, whether a call takes any number of images. The rest of ONNX and OpenVINO is in
# test_formats.py; one ExecuTorch file shows boxes and masks.
CASES = [
    ('torch-export', 'det', False),
    ('torch-export', 'seg', True),
    ('torch-export', 'joint', True),
    ('executorch', 'joint', True),
    ('ncnn', 'joint', False),
    ('ncnn', 'pyramid', False),
    ('onnx', 'seg', True),
    ('onnx', 'pyramid', True),
    ('openvino', 'joint', True),
]
PARTS = {
    'openvino': ['.xml', '.bin'],
    'executorch': ['.pte', '.json'],
    'ncnn': ['.param', '.bin', '.json'],
}
BY_FORMAT = {to: (task, dynamic_batch) for to, task, dynamic_batch in reversed(CASES)}


def slow_if_executorch(cases):
    """Return the cases as parameters; an ExecuTorch file takes a minute or two to make."""
    return [
        pytest.param(*case, marks=[pytest.mark.slow] if 'executorch' in case else [])
        for case in cases
    ]


@pytest.fixture(scope='module')
def exported(sample_dataset, tmp_path_factory):
    """A function that exports each case once: format, task, whether for any batch size."""
    folder = tmp_path_factory.mktemp('models')

    @cache
    def model(task):
        (folder / task).mkdir()
        return write_config(folder / task, *TASKS[task], sample_dataset)

    @cache
    def result(to, task, dynamic_batch):
        config, checkpoint, options = model(task)
        return export(
            config, checkpoint, to=to, out=str(folder / f'{to}-{task}-{dynamic_batch}'),
            dynamic_batch=dynamic_batch, num_images=3, cfg_options=options,
        )  # fmt: skip

    return result


@pytest.mark.parametrize(('to', 'task', 'dynamic_batch'), slow_if_executorch(CASES))
def test_a_format_supports_a_task(exported, to, task, dynamic_batch):
    result = exported(to, task, dynamic_batch)
    assert result.problems() == []
    assert result.comparison.raw.keys() == RAW_OUTPUTS[task]
    if task != 'seg':
        assert result.comparison.num_matched > 50
    if task in ('seg', 'joint'):
        assert result.comparison.equal_pixels > 0.999
    predictor = Predictor(result.path, threads=1)
    assert predictor.metadata.batch_size == (None if dynamic_batch else 1)
    found = predictor.predict(list(random_images(5, (150, 170))))
    assert len(found) == 5
    for prediction in found:
        assert (len(prediction.boxes) > 0) == (task != 'seg')
        assert (prediction.mask is None) == (task not in ('seg', 'joint'))
        assert prediction.mask is None or prediction.mask.shape == (150, 170)


@pytest.mark.parametrize('to', slow_if_executorch((to,) for to in BY_FORMAT))
def test_a_partly_copied_file_is_refused(exported, tmp_path, to):
    path = Path(exported(to, *BY_FORMAT[to]).path)
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
    path = Path(exported('executorch', *BY_FORMAT['executorch']).path)
    with pytest.raises(UserError, match=r'json next to it'):
        Predictor(shutil.copy(path, tmp_path))
