"""Predictor with only numpy, OpenCV, Pillow and a runtime installed."""

import numpy as np
import pytest
from helpers.bare import predict_in_a_bare_environment
from helpers.deploy import EXPORTABLE, random_images, write_config
from PIL import Image

from mbv2_backbone.deploy import Predictor
from mbv2_backbone.workbench.export.export import export

pytestmark = pytest.mark.runtime
PACKAGES = {
    'onnxruntime': ('numpy', 'cv2', 'PIL', 'onnxruntime', 'flatbuffers', 'google', 'packaging'),
    'openvino': ('numpy', 'cv2', 'PIL', 'openvino', 'openvino_telemetry'),
    'ncnn': ('numpy', 'cv2', 'PIL', 'ncnn'),
}


@pytest.fixture(scope='module')
def exported(sample_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp('bare')
    paths = {}
    for model in ('det', 'cls'):
        config, checkpoint, options = write_config(folder, *EXPORTABLE[model], sample_dataset)
        for to in ('onnx', 'ncnn'):
            result = export(
                config, checkpoint, to=to, out=str(folder), num_images=2, cfg_options=options
            )
            assert result.problems() == []
            paths[model, to] = result.path
    Image.fromarray(random_images(1, (150, 200))[0]).save(folder / 'image.png')
    return paths, folder / 'image.png'


@pytest.mark.parametrize(
    ('model', 'runtime'),
    [*(('det', runtime) for runtime in PACKAGES), ('cls', 'onnxruntime'), ('cls', 'ncnn')],
)
def test_the_predictor_needs_no_torch(exported, tmp_path, model, runtime):
    """A new virtual environment links to a few packages and has nothing else."""
    paths, image = exported
    path = paths[model, 'ncnn' if runtime == 'ncnn' else 'onnx']
    boxes, names, likeliest, heavy = predict_in_a_bare_environment(
        tmp_path, PACKAGES[runtime], path, runtime, image
    )
    assert heavy == []
    expected = Predictor(path, runtime=runtime, threads=1)(image)
    assert np.allclose(np.reshape(boxes, (-1, 4)), expected.boxes, atol=1e-3)
    assert tuple(names) == expected.names
    assert [name for name, _ in likeliest] == [name for name, _ in expected.likeliest]
    assert np.allclose([p for _, p in likeliest], [p for _, p in expected.likeliest], atol=1e-5)
    assert len(names) > 10 if model == 'det' else len(likeliest) == 5
