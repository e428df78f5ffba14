"""tools/convert_weights.py as a user runs it."""

import os
import subprocess
import sys
import time

from helpers.paths import ROOT

os.environ.setdefault('KERAS_BACKEND', 'torch')

import pytest
import timm as timm_library
import torch
from helpers.networks import randomise
from helpers.tensorflow import detector_variables, write_graph
from mmengine.registry import MODELS
from torchvision.models import mobilenet_v2

from mbv2_backbone import MobileNetV2Backbone
from mbv2_backbone.arch import TAP_NAMES
from mbv2_backbone.weights import convert, load_into
from mbv2_backbone.weights.checkpoint_files import read_checkpoint
from mbv2_backbone.workbench.configs.read import load_config

TOOL = ROOT / 'tools' / 'convert_weights.py'


def run(*args):
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, args)],
        capture_output=True,
        text=True,
        env=os.environ | {'OMP_NUM_THREADS': '1'},
        check=False,
    )


def main(*args):
    sys.path.insert(0, str(TOOL.parent))
    try:
        import common
        import convert_weights
    finally:
        sys.path.pop(0)
    try:
        common.run(convert_weights.main, convert_weights.parse_args([str(arg) for arg in args]))
    except SystemExit as stop:
        return stop.code
    return 0


@pytest.fixture
def narrow(tmp_path):
    model = randomise(mobilenet_v2(width_mult=0.35))
    torch.save(model.state_dict(), tmp_path / 'tv.pth')
    return model


def test_as_a_program(narrow, tmp_path):
    done = run(tmp_path / 'tv.pth', tmp_path / 'ours.pth', '--verify')
    assert done.returncode == 0, done.stderr
    assert 'torchvision layout; width 0.35; 312 of 312 tensors filled' in done.stdout
    assert f'The networks agree at all {len(TAP_NAMES)} taps.' in done.stdout


def test_help_is_fast():
    start = time.perf_counter()
    done = run('--help')
    assert done.returncode == 0
    assert '--verify' in done.stdout
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize('to', ['mmdet', 'torchvision', 'timm'])
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_there_and_back(narrow, tmp_path, capsys, to, suffix):
    there, back = tmp_path / f'there{suffix}', tmp_path / 'back.pth'
    assert main(tmp_path / 'tv.pth', there, '--to', to, '--verify') == 0
    assert main(there, back, '--to', 'torchvision') == 0
    assert f'{to} layout; width 0.35' in capsys.readouterr().out
    origin, returned = narrow.state_dict(), torch.load(back)
    assert sorted(returned) == sorted(n for n in origin if 'classifier' not in n)
    assert all(torch.equal(t, origin[name]) for name, t in returned.items())


def test_timm_loads_the_file_written_for_it(narrow, tmp_path):
    assert main(tmp_path / 'tv.pth', tmp_path / 'timm.pth', '--to', 'timm') == 0
    model = timm_library.create_model('mobilenetv2_035', num_classes=0)
    assert not model.load_state_dict(torch.load(tmp_path / 'timm.pth')).missing_keys


def test_a_detector_with_a_short_backbone(tmp_path, capsys):
    backbone = randomise(MobileNetV2Backbone(widen_factor=0.5, out_indices='layer6.expand'))
    model = torch.nn.ModuleDict({'backbone': backbone})
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'det.pth')
    assert main(tmp_path / 'det.pth', tmp_path / 'tv.pth', '--to', 'torchvision', '--verify') == 0
    out = capsys.readouterr().out
    assert '240 of 240 tensors filled' in out
    assert 'agree at all 11 taps' in out


def test_keras_origin_travels_with_the_file(tmp_path, capsys):
    import keras

    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(weights=None, alpha=0.35, input_shape=(64, 64, 3))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights([gamma * 3, beta + 0.1, mean + 0.1, variance + 0.3])
    model.save(tmp_path / 'model.keras')
    assert main(tmp_path / 'model.keras', tmp_path / 'ours.pth', '--verify') == 0
    _, report = convert(read_checkpoint(tmp_path / 'ours.pth'))
    assert (report.layout, report.origin.padding, report.origin.batch_norm_eps) == (
        'mmdet',
        'same',
        1e-3,
    )
    assert report.origin.preprocessing.mean == (127.5, 127.5, 127.5)
    capsys.readouterr()
    for origin in ('model.keras', 'ours.pth'):
        assert main(tmp_path / origin, tmp_path / 'tv.pth', '--to', 'torchvision') == 2
        assert 'which torchvision does not support' in capsys.readouterr().err
    assert not (tmp_path / 'tv.pth').exists()


def test_a_difference_is_reported(narrow, tmp_path, capsys, monkeypatch):
    from mbv2_backbone.weights.layouts import torchvision_names as torchvision

    modules = torchvision.LAYOUT.modules
    first, second = 'features.5.conv.1.1', 'features.6.conv.1.1'
    swapped = {first: modules[second], second: modules[first]}
    for theirs, ours in swapped.items():
        monkeypatch.setitem(modules, theirs, ours)
    assert main(tmp_path / 'tv.pth', tmp_path / 'ours.pth', '--verify') == 1
    assert 'differ at layer3, layer4.expand' in capsys.readouterr().err


def test_errors_are_one_message(narrow, tmp_path, capsys):
    (tmp_path / 'page.pth').write_text('<!doctype html>')
    for src, dst, message in (
        ('page.pth', 'a.pth', 'a web page'),
        ('gone.pth', 'a.pth', 'does not exist'),
        ('tv.pth', 'a.onnx', 'its suffix can be .pth, .pt, .safetensors'),
        ('tv.pth', 'no/a.pth', 'does not exist'),
    ):
        assert main(tmp_path / src, tmp_path / dst) == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.err.count('\n') == 1


def test_pickles_need_the_flag(tmp_path, capsys):
    torch.save(mobilenet_v2(width_mult=0.35), tmp_path / 'model.pth')
    assert main(tmp_path / 'model.pth', tmp_path / 'ours.pth') == 2
    assert '--allow-pickle' in capsys.readouterr().err
    assert main(tmp_path / 'model.pth', tmp_path / 'ours.pth', '--allow-pickle', '--verify') == 0
    load_into(MobileNetV2Backbone(widen_factor=0.35), tmp_path / 'ours.pth')


def test_a_whole_model_of_tensorflow(tmp_path, capsys):
    config = ROOT / 'configs' / 'ssdlite_mbv2_coco_tf.py'
    model = randomise(MODELS.build(load_config(str(config)).model), seed=8)
    graph = write_graph(detector_variables(model), tmp_path / 'frozen_inference_graph.pb')
    out = tmp_path / 'ssdlite.pth'
    assert main(graph, out, '--config', config) == 0
    assert '480 of 480 tensors filled' in capsys.readouterr().out
    written = torch.load(out)
    assert written['meta']['dataset_meta']['classes'][0] == 'person'
    for name, tensor in model.state_dict().items():
        if not name.endswith('num_batches_tracked'):
            assert torch.equal(written['state_dict'][name], tensor), name
    assert main(graph, tmp_path / 'x.pth', '--config', config, '--to', 'timm') == 2
    other = ROOT / 'configs' / 'ssdlite_mbv2_coco_plus.py'
    assert main(graph, tmp_path / 'x.pth', '--config', other) == 2
    assert 'fills only a part of the model' in capsys.readouterr().err
    assert not (tmp_path / 'x.pth').exists()
