"""Packages that are missing, too old or do not fit each other are named, with the command."""

import pytest
from helpers.findings import only

from mbv2_backbone.workbench.doctor.installation import (
    check_compiled_ops,
    check_python,
    check_stack,
    check_torchvision,
    list_runtimes,
    list_writers,
)

FORKS = {
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
    'onedl-mmdetection': '3.5.1',
    'onedl-mmsegmentation': '1.4.2',
    'torch': '2.15.0',
}
OFFICIAL = {
    'mmengine': '0.10.7',
    'mmcv-lite': '2.1.0',
    'mmdet': '3.3.0',
    'mmsegmentation': '1.2.2',
    'torch': '2.15.0',
}


def test_python_is_new_enough():
    only(check_python((3, 9, 18)), 'error', 'Python 3.9.18')
    only(check_python(), 'ok', 'Python 3')


def test_a_sound_stack_is_sound():
    only(check_stack(FORKS), 'ok', 'the maintained forks', 'onedl-mmcv 2.3.6')
    only(check_stack(OFFICIAL), 'ok', 'the official stack', 'mmcv-lite 2.1.0')


@pytest.mark.parametrize('version', ['2.6', '2.10.0+cu128', '2.6.0a0+df5bbc0.nv24.11', '3.0'])
def test_torch_is_new_enough(version):
    only(check_stack(FORKS | {'torch': version}), 'ok')


@pytest.mark.parametrize(
    ('versions', 'said'),
    [
        (
            FORKS | {'mmcv': '2.1.0'},
            'onedl-mmcv 2.3.6 and mmcv 2.1.0 are installed over each other',
        ),
        (FORKS | {'mmcv': '2.1.0'}, 'pip uninstall -y onedl-mmcv mmcv && pip install'),
        ({k: v for k, v in FORKS.items() if k != 'onedl-mmcv'}, 'mmcv is not installed'),
        (FORKS | {'onedl-mmengine': '0.10.11'}, 'onedl-mmengine 0.10.11 is older than 0.10.12'),
        (FORKS | {'torch': '2.3.1'}, "pip install -U 'torch>="),
        (OFFICIAL | {'mmcv-lite': '2.2.0'}, 'pip install mmcv-lite==2.1.0'),
    ],
)
def test_incompatible_versions(versions, said):
    only(check_stack(versions), 'error', said)


def test_packages_of_two_stacks():
    mixed = {k: v for k, v in FORKS.items() if k != 'onedl-mmdetection'} | {'mmdet': '3.3.0'}
    only(check_stack(mixed), 'error', 'packages of two stacks', 'pip uninstall -y mmdet')
    both = check_stack(FORKS | OFFICIAL)
    assert [finding.level for finding in both] == ['error'] * 4
    without = {k: v for k, v in FORKS.items() if k != 'onedl-mmdetection'}
    only(check_stack(without), 'warning', 'mmdet is not installed')


def test_runtimes_are_listed():
    only(list_runtimes({}), 'ok', 'no onnxruntime (.onnx)', 'no ai-edge-litert (.tflite), no ncnn')
    only(list_runtimes({'ai-edge-litert': '2.3.0'}), 'ok', 'ai-edge-litert 2.3.0 (.tflite)')


def test_writers_are_listed():
    none = list_writers({}, has_web_files=False, has_npm=False)
    only(none, 'ok', "no coremltools (.mlpackage; pip install -e '.[coreml]')", 'needs npm')
    only(list_writers({}, has_web_files=False, has_npm=True), 'ok', 'web pages; npm fetches it')
    old = list_writers({'coremltools': '8.3.0'}, has_web_files=True, has_npm=False)
    only(old, 'ok', 'coremltools 8.3.0 is older than 9', ', onnxruntime-web (web pages)')
    new = {'coremltools': '9.0', 'litert-torch': '0.10.0'}
    found = list_writers(new, has_web_files=True, has_npm=False)
    only(found, 'ok', 'coremltools 9.0 (.mlpackage), litert-torch 0.10.0 (.tflite)')


def test_torchvision_of_another_torch():
    versions = {'torch': '2.15.0+cpu', 'torchvision': '0.29.2'}
    only(check_torchvision(versions, ['numpy', 'torch (==2.15.0)']), 'ok')
    only(check_torchvision(versions, ['torch==2.14.0']), 'error', 'needs torch 2.14.0')
    only(check_torchvision(versions, ['torch (==2.14.0)']), 'error', 'needs torch 2.14.0')
    only(check_torchvision(versions, ['torch==2.15.0+cu130']), 'ok')
    only(check_torchvision(versions, ['torch==2.15.0'], 'no nms'), 'error', 'no nms', '--force')
    only(check_torchvision({'torch': '2.15.0'}, []), 'error', 'torchvision not installed')


def test_compiled_operators_of_another_torch(tmp_path):
    only(check_compiled_ops(None, '2.15.0'), 'ok', 'torchvision replaces them')
    broken = tmp_path / '_ext.so'
    broken.write_bytes(b'\x7fELF of another torch')
    only(check_compiled_ops(broken, '2.15.0'), 'error', str(broken), '2.15.0', 'pip uninstall')
