"""The functions of `workbench.api`: those of the tools, with paths as notebooks give them."""

import ast
import inspect
import json

import pytest
from helpers.paths import ROOT
from helpers.process import run_python
from helpers.small import write_small_config

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench import api

TOOLS = {
    'new_config': ['new_config'],
    'train': ['train'],
    'test': ['evaluate'],
    'predict': ['predict'],
    'export': ['export'],
    'data': ['check_data', 'convert', 'fetch', 'generate_sample', 'show'],
}


def uses_of_api(path):
    """Return the names that a tool takes from the module."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == api.__name__:
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Attribute) and getattr(node.value, 'id', '') == 'api':
            yield node.attr


@pytest.mark.parametrize(('tool', 'names'), TOOLS.items(), ids=TOOLS)
def test_a_tool_calls_the_functions(tool, names):
    assert sorted(uses_of_api(ROOT / 'tools' / f'{tool}.py')) == names


def test_each_is_a_plain_function_with_a_docstring():
    assert sorted(api.__all__) == sorted(name for names in TOOLS.values() for name in names)
    for name in api.__all__:
        function = getattr(api, name)
        assert inspect.isfunction(function)
        assert 'Args:' in function.__doc__, name
        assert function.__name__ == name
    assert dir(api) == sorted(api.__all__)
    with pytest.raises(AttributeError, match='no attribute'):
        api.trian  # noqa: B018


def test_the_import_loads_no_toolbox():
    run_python(
        'import sys\n'
        'from mbv2_backbone.workbench import api\n'
        "assert not {'mmdet', 'mmseg', 'mbv2_backbone.workbench.run'} & set(sys.modules)\n"
        'from mbv2_backbone.workbench.api import *\n'
        'assert train.__module__ == evaluate.__module__ == "mbv2_backbone.workbench.run"\n'
        'import mbv2_backbone.workbench.train.signals\n'
        'from mbv2_backbone.workbench.api import train\n'
        'assert callable(train)\n'
    )


@pytest.mark.runtime
def test_each_takes_paths_and_prints_what_it_did(sample_dataset, tmp_path):
    report = api.check_data(sample_dataset, task='det')
    assert '24' in repr(report)
    assert not report.stops_training
    config = write_small_config(
        tmp_path / 'small.py', sample_dataset, 'train_cfg = dict(max_epochs=1, val_interval=1)'
    )
    work, out = tmp_path / 'work', tmp_path / 'out'
    api.train(config, work_dir=work)
    first = (work / 'epoch_1.pth').stat().st_mtime_ns
    api.train(config, work_dir=work, resume=work / 'epoch_1.pth')
    assert (work / 'epoch_1.pth').stat().st_mtime_ns == first  # there was nothing left to do
    options = dict(work_dir=work, out=out / 'found.pkl', show_dir=out / 'drawn')
    assert 'coco/bbox_mAP' in api.evaluate(config, work / 'epoch_1.pth', **options)
    assert (out / 'found.pkl').is_file()
    photo = sample_dataset / 'JPEGImages' / 'val_00000.jpg'
    done = api.predict(config, work / 'epoch_1.pth', photo, out=out, score_thr=0)
    rows = json.loads((out / 'predictions.json').read_text())
    expected = f'{len(rows)} predictions on 1 images in {out}/predictions.json, drawn images in'
    assert repr(done).startswith(expected)
    assert (out / 'val_00000.jpg').is_file()
    exported = api.export(config, work / 'epoch_1.pth', to='onnx', out=out, num_images=1)
    assert repr(exported).splitlines()[-1] == f'Wrote {out}/small.onnx'
    assert (out / 'small.onnx').is_file()


def test_check_data_takes_a_config(sample_dataset, tmp_path):
    config = write_small_config(tmp_path / 'small.py', sample_dataset)
    assert api.check_data(config).stats.keys() == {'train', 'val'}
    with pytest.raises(UserError, match='are for folders'):
        api.check_data(config, task='det')
