"""Predictor with only numpy, OpenCV, Pillow and a runtime installed."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from helpers.deploy import DETECTION, random_images, write_config
from helpers.paths import ROOT
from PIL import Image

from mbv2_backbone.deploy import Predictor
from mbv2_backbone.workbench.export.export import export

pytestmark = pytest.mark.runtime
PACKAGES = {
    'onnxruntime': ('numpy', 'cv2', 'PIL', 'onnxruntime', 'flatbuffers', 'google', 'packaging'),
    'openvino': ('numpy', 'cv2', 'PIL', 'openvino', 'openvino_telemetry'),
    'ncnn': ('numpy', 'cv2', 'PIL', 'ncnn'),
}
CODE = """
import json, sys
from mbv2_backbone.deploy import Predictor
found = Predictor(sys.argv[1], runtime=sys.argv[2], threads=1)(sys.argv[3])
heavy = {'torch', 'mmengine', 'mmcv', 'mmdet', 'mmseg'} & set(sys.modules)
print(json.dumps([found.boxes.tolist(), found.names, sorted(heavy)]))
"""


@pytest.fixture(scope='module')
def exported(sample_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp('bare')
    config, checkpoint, options = write_config(
        folder, DETECTION, 'ssdlite_mbv2_sample', sample_dataset
    )
    paths = {}
    for to in ('onnx', 'ncnn'):
        result = export(
            config, checkpoint, to=to, out=str(folder), num_images=2, cfg_options=options
        )
        assert result.problems() == []
        paths[to] = result.path
    Image.fromarray(random_images(1, (150, 200))[0]).save(folder / 'image.png')
    return paths, folder / 'image.png'


@pytest.mark.parametrize('runtime', PACKAGES)
def test_the_predictor_needs_no_torch(exported, tmp_path, runtime):
    """A new virtual environment links to a few packages and has nothing else."""
    paths, image = exported
    path = paths.get(runtime, paths['onnx'])
    subprocess.run(
        [sys.executable, '-m', 'venv', '--without-pip', '--symlinks', tmp_path / 'venv'], check=True
    )
    site = next((tmp_path / 'venv').glob('lib/python*/site-packages'))
    for name in PACKAGES[runtime]:
        spec = find_spec(name)
        if spec is None:
            continue
        source = Path(next(iter(spec.submodule_search_locations)))
        (site / name).symlink_to(source)
        distribution = {'PIL': 'pillow', 'cv2': 'opencv_python*'}.get(name, spec.name.lower())
        for libraries in source.parent.glob(f'{distribution}.libs'):
            (site / libraries.name).symlink_to(libraries)
    (site / 'mbv2_backbone').symlink_to(ROOT / 'mbv2_backbone')
    python = tmp_path / 'venv' / 'bin' / 'python'
    for heavy in ('torch', 'mmengine', 'mmcv'):
        missing = subprocess.run([python, '-c', f'import {heavy}'], capture_output=True)
        assert missing.returncode == 1
    result = subprocess.run(
        [python, '-c', CODE, path, runtime, image], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    boxes, names, heavy = json.loads(result.stdout)
    assert heavy == []
    expected = Predictor(path, runtime=runtime, threads=1)(image)
    assert np.allclose(boxes, expected.boxes, atol=1e-3)
    assert tuple(names) == expected.names
    assert len(names) > 10
