"""`.tflite` files of ours are run, those of others are weights; a broken one is refused."""

import shutil
import sys
import zipfile

import numpy as np
import pytest
from helpers.bare import predict_in_a_bare_environment
from helpers.deploy import exporter, random_images
from helpers.paths import ROOT
from PIL import Image

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy import Predictor
from mbv2_backbone.deploy.runtimes import is_exported
from mbv2_backbone.weights.whole_model import read_state_dict

pytestmark = pytest.mark.runtime
FOREIGN = ROOT / 'tests' / 'data' / 'tensorflow' / 'deeplabv3_257_mv_gpu.tflite'
PACKAGES = ('numpy', 'cv2', 'PIL', 'ai_edge_litert')


@pytest.fixture(scope='module')
def exported(sample_dataset, tmp_path_factory):
    """The path of a detector that ends in NMS, beside others that its test files share."""
    result = exporter(tmp_path_factory.mktemp('litert'), sample_dataset, 'litert')
    return result('det', int8='strict')


def test_a_file_of_others_is_a_checkpoint(tmp_path):
    assert not is_exported(str(FOREIGN))
    assert len(read_state_dict(str(FOREIGN))) > 100
    with pytest.raises(UserError, match='no valid metadata'):
        Predictor(FOREIGN)
    assert not is_exported(str(tmp_path / 'missing.tflite'))
    with zipfile.ZipFile(tmp_path / 'labelled.tflite', 'w') as archive:
        archive.writestr('labels.txt', 'cat')
    assert not is_exported(str(tmp_path / 'labelled.tflite'))


def test_a_file_of_ours_is_not(exported):
    assert is_exported(exported.path)


def test_a_file_without_its_model_is_refused(exported, tmp_path):
    shutil.copy(exported.path, tmp_path / 'hollow.tflite')
    with open(tmp_path / 'hollow.tflite', 'r+b') as file:
        file.write(bytes(1000))
    with pytest.raises(UserError, match='is it complete'):
        Predictor(tmp_path / 'hollow.tflite')


def test_without_the_runtime(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ai_edge_litert.interpreter', None)
    with pytest.raises(UserError, match='pip install ai-edge-litert'):
        Predictor(exported.path)


@pytest.mark.parametrize('name', ['path', 'quantised'])
def test_the_predictor_needs_no_torch(exported, tmp_path, name):
    path = exported.path if name == 'path' else exported.quantised.path
    image = tmp_path / 'image.png'
    Image.fromarray(random_images(1, (150, 200))[0]).save(image)
    boxes, names, _, heavy = predict_in_a_bare_environment(
        tmp_path, PACKAGES, path, 'litert', image
    )
    assert heavy == []
    expected = Predictor(path, threads=1)(image)
    assert np.allclose(boxes, expected.boxes, atol=1e-3)
    assert tuple(names) == expected.names
    assert len(names) > 10
