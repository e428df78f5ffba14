"""Untrusted files: no entry point runs their code."""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile

import pytest
import torch
import yaml
from helpers.paths import ROOT
from helpers.pickle import MakesFolder
from helpers.resume import toy_config, train_toy
from helpers.small import write_small_config
from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from mbv2_backbone import MobileNetV2Backbone
from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy.pt2_check import check_program
from mbv2_backbone.deploy.torch_runtime import load as load_program
from mbv2_backbone.weights.runner import refuse_code_in_checkpoints
from mbv2_backbone.workbench.checks.before_run import check_data
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.configs.summary import summarise
from mbv2_backbone.workbench.predict.predict import predict
from mbv2_backbone.workbench.run import evaluate, train


@pytest.fixture
def evil(tmp_path):
    """A checkpoint with code, in both of torch's formats, and the folder the code would make."""
    sign = tmp_path / 'code_ran'
    state = dict(state_dict={'a': torch.ones(1)}, meta={}, optimizer=MakesFolder(sign))
    torch.save(state, tmp_path / 'zip.pth')
    torch.save(state, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    (tmp_path / 'plain.pth').write_bytes(pickle.dumps(state))
    (tmp_path / 'a.pkl').write_bytes(pickle.dumps(state))
    yield [tmp_path / f'{name}.pth' for name in ('zip', 'old', 'plain')]
    assert not sign.exists()
    torch.load(tmp_path / 'zip.pth', weights_only=False)  # it would have
    assert sign.exists()


@pytest.fixture(scope='module')
def small(sample_dataset, tmp_path_factory):
    """A config on the small dataset that trains for one short epoch."""
    path = tmp_path_factory.mktemp('config') / 'small.py'
    more = 'train_cfg = dict(max_epochs=1, val_interval=9)'
    return write_small_config(path, sample_dataset, more, batch_size=12)


def test_no_tool_runs_the_code_of_a_checkpoint(small, sample_dataset, evil, tmp_path):
    image = str(next((sample_dataset / 'JPEGImages').glob('*.jpg')))
    work_dir = str(tmp_path / 'work')

    def load_backbone(path):
        MobileNetV2Backbone(init_cfg=dict(type='Pretrained', checkpoint=path)).init_weights()

    doors = [
        lambda path: train(str(small), work_dir=work_dir, resume=path),
        lambda path: train(str(small), work_dir=work_dir, cfg_options=[f'load_from={path}']),
        lambda path: evaluate(str(small), path, work_dir=work_dir),
        lambda path: predict(str(small), path, [image], out=work_dir),
        load_backbone,
    ]
    for path in map(str, evil):
        for door in doors:
            with pytest.raises(UserError, match=r'refused|damaged'):
                door(path)
    from mbv2_backbone.workbench.export.export import export

    with pytest.raises(UserError, match='refused'):
        export(str(small), str(evil[0]), to='torch-export', out=work_dir)


def test_resuming_runs_no_config_of_a_checkpoint(tmp_path):
    """mmengine's Runner would run the config in it, to compare it with its own."""
    refuse_code_in_checkpoints()
    train_toy(toy_config(tmp_path, length=1))
    path, sign = tmp_path / 'epoch_1.pth', tmp_path / 'code_ran'
    checkpoint = torch.load(path, weights_only=True)
    checkpoint['meta']['config'] = f'import os; os.mkdir({str(sign)!r})'
    torch.save(checkpoint, path)
    train_toy(toy_config(tmp_path, length=2), resume=str(path))
    assert (tmp_path / 'epoch_2.pth').is_file()
    assert not sign.exists()


def test_mmengines_own_loader_refuses_code(evil):
    """The Runner itself loads with it; every kind of path leads to this one loader."""
    refuse_code_in_checkpoints()
    for path in evil:
        with pytest.raises(UserError, match=r'refused|damaged'):
            CheckpointLoader.load_checkpoint(str(path))
    assert len(set(CheckpointLoader._schemes.values())) == 1


def test_annotations_that_are_a_pickle_are_refused(small, evil):
    cfg = load_config(str(small))
    cfg.train_dataloader.dataset.ann_file = str(evil[0].with_name('a.pkl'))
    with pytest.raises(UserError, match='is a pickle'):
        check_data(summarise(cfg), ('train',))


class Doubler(torch.nn.Module):
    def forward(self, images):
        return (images * 2,)


@pytest.fixture(scope='module')
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp('program') / 'model.pt2'
    batch = torch.export.Dim('batch')
    exported = torch.export.export(Doubler(), (torch.zeros(2, 3),), dynamic_shapes=({0: batch},))
    torch.export.save(exported, path)
    return path


def changed(program, path, change):
    """Write a program with the records that `change(name, data)` returns."""
    with zipfile.ZipFile(program) as source, zipfile.ZipFile(path, 'w') as target:
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))
    return path


def test_a_harmless_program_is_accepted(program, tmp_path):
    check_program(program)
    check_program(changed(program, tmp_path / 'same.pt2', lambda name, data: data))


def test_programs_with_code_are_refused(program, tmp_path):
    sign = tmp_path / 'code_ran'
    buffer = io.BytesIO()
    torch.save(MakesFolder(sign), buffer)

    def with_pickle(name, data):
        return buffer.getvalue() if 'sample_inputs' in name else data

    def replaced(old, new):
        def change(name, data):
            if 'models/' in name:
                assert old in data
                return data.replace(old, new)
            return data

        return change

    code = f"__import__('os').mkdir('{sign}')".encode()
    cases = [
        (with_pickle, 'more than tensors'),
        (
            replaced(b'torch.ops.aten.mul.Tensor', b'torch.serialization.os.mkdir'),
            'not a torch operator',
        ),
        (replaced(b'torch.ops.aten.mul.Tensor', b'_operator.methodcaller'), 'not a torch operator'),
        (replaced(b'"guards_code":[]', b'"guards_code":["' + code + b'"]'), 'contains code'),
        (replaced(b'"guards_code": []', b'"guards_code": ["' + code + b'"]'), 'contains code'),
    ]
    done = 0
    for change, match in cases:
        try:
            path = changed(program, tmp_path / 'evil.pt2', change)
        except AssertionError:  # the other spelling of the JSON
            continue
        done += 1
        with pytest.raises(UserError, match=match):
            load_program(str(path), None)
    assert done == 4
    for size in (f"Symbol('s0').__class__({code.decode()})", code.decode(), 's0.real'):
        graph = json.dumps(dict(a=[dict(expr_str=size)]))
        path = tmp_path / 'size.pt2'
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr('x/models/model.json', graph)
        with pytest.raises(UserError, match='could be code'):
            check_program(path)
    assert not sign.exists()


@pytest.mark.parametrize(
    ('config', 'match'),
    [
        (dict(model=dict(type='os.mkdir', path='code_ran')), 'os.mkdir'),
        (dict(model={}, hooks=[dict(type='mmengine.fileio.load', file='a.pkl')]), 'fileio.load'),
        (dict(model={}, custom_imports=dict(imports=['evil_module'])), 'evil_module'),
        (dict(model={}, custom_imports=dict(imports='antigravity')), 'antigravity'),
        (dict(model={}, _base_='evil.py'), 'evil.py, a Python file'),
        (dict(model={}, _base_=['base.json']), 'os.mkdir'),
        (dict(model={}, _base_='mmdet::ssd/../../../../evil.py'), 'outside the package'),
        (dict(model={}, _base_='mmdet::/tmp/evil.py'), 'outside the package'),
        (dict(model={}, custom_imports='{{ _base_.x }}'), 'replaces before it reads'),
    ],
)
def test_a_json_or_yaml_config_runs_no_code(tmp_path, monkeypatch, config, match):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'evil.py').write_text("import os; os.mkdir('code_ran')")
    (tmp_path / 'base.json').write_text(json.dumps(dict(a=dict(type='os.mkdir'))))
    for name in ('x.json', 'x.yaml', 'x.yml'):
        (tmp_path / name).write_text(json.dumps(config))  # which is also YAML
        with pytest.raises(UserError, match=match):
            load_config(str(tmp_path / name))
    assert not (tmp_path / 'code_ran').exists()


def test_text_that_mmengine_replaces_hides_no_python_object(tmp_path):
    sign = tmp_path / 'code_ran'
    (tmp_path / 'x.yaml').write_text(
        "model: {a: {b: '{{$X:v'}}\n"
        "note: ', c: 1}}\n"
        f'evil: !!python/object/apply:os.mkdir [{sign}]\n'
        "z: ' # '\n"
    )
    with pytest.raises(UserError, match='replaces before it reads'):
        load_config(str(tmp_path / 'x.yaml'))
    assert not sign.exists()


def test_a_yaml_tag_makes_no_python_object(tmp_path):
    sign = tmp_path / 'code_ran'
    (tmp_path / 'x.yaml').write_text(f'model: !!python/object/apply:os.mkdir [{sign}]')
    with pytest.raises(UserError, match='plain values only'):
        load_config(str(tmp_path / 'x.yaml'))
    assert not sign.exists()


def test_train_test_and_predict_take_json_and_yaml(small, sample_dataset, tmp_path):
    """Our own configs load as data, with the same meaning."""
    cfg = Config.fromfile(str(small))
    cfg.dump(str(tmp_path / 'x.json'))
    plain = json.loads((tmp_path / 'x.json').read_text())
    (tmp_path / 'x.yaml').write_text(yaml.safe_dump(plain))
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    command = [sys.executable, str(ROOT / 'tools/train.py'), str(tmp_path / 'x.json')]
    result = subprocess.run(
        [*command, '--work-dir', str(tmp_path / 'work')], env=env, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-3000:]
    checkpoint = str(tmp_path / 'work/epoch_1.pth')
    config = str(tmp_path / 'x.yaml')
    assert load_config(config).to_dict() == load_config(str(tmp_path / 'x.json')).to_dict()
    evaluate(config, checkpoint, work_dir=str(tmp_path / 'test'))
    image = str(next((sample_dataset / 'JPEGImages').glob('*.jpg')))
    assert predict(config, checkpoint, [image], out=str(tmp_path / 'out')).num_images == 1
