"""Checkpoint files are read safely, and unreadable ones say why."""

import io
import os
import pickle
import zipfile

import h5py
import numpy as np
import pytest
import torch
from helpers.pickle import MakesFolder
from torchvision.models import mobilenet_v2

from mbv2_backbone import MobileNetV2Backbone
from mbv2_backbone.weights import load_into
from mbv2_backbone.weights.checkpoint_files import read_checkpoint

TENSORS = {'conv.weight': torch.arange(6.0).view(2, 3)}


@pytest.mark.parametrize('name', ['a.pth', 'a.pt', 'a.bin'])
@pytest.mark.parametrize('new_format', [True, False])
def test_torch_files(tmp_path, name, new_format):
    torch.save(TENSORS, tmp_path / name, _use_new_zipfile_serialization=new_format)
    assert torch.equal(read_checkpoint(tmp_path / name)['conv.weight'], TENSORS['conv.weight'])


def test_safetensors_under_any_name(tmp_path):
    from safetensors.torch import save_file

    save_file(TENSORS, tmp_path / 'a.pth')
    assert torch.equal(read_checkpoint(tmp_path / 'a.pth')['conv.weight'], TENSORS['conv.weight'])


def test_an_mmengine_checkpoint_loads_without_running_it(tmp_path):
    from mmengine.logging import HistoryBuffer

    history = HistoryBuffer([1.0, 2.0], [1, 1])
    hub = dict(log_scalars={'loss': history}, runtime_info={'lr': np.float64(0.1)})
    torch.save(dict(state_dict=TENSORS, message_hub=hub, meta=dict(epoch=3)), tmp_path / 'a.pth')
    assert read_checkpoint(tmp_path / 'a.pth')['meta'] == dict(epoch=3)


@pytest.mark.parametrize('new_format', [True, False])
def test_code_is_refused_unless_allowed(tmp_path, new_format):
    target, path = str(tmp_path / 'made_by_the_checkpoint'), tmp_path / 'a.pth'
    torch.save(
        dict(TENSORS, extra=MakesFolder(target)), path, _use_new_zipfile_serialization=new_format
    )
    with pytest.raises(ValueError, match=r'refused.*run \w+\.mkdir.*allow_pickle=True'):
        read_checkpoint(path)
    assert not os.path.exists(target)
    assert 'conv.weight' in read_checkpoint(path, allow_pickle=True)
    assert os.path.exists(target)


def test_a_whole_pickled_model_needs_the_flag(tmp_path):
    model = mobilenet_v2(width_mult=0.35)
    torch.save(model, tmp_path / 'model.pth')
    backbone = MobileNetV2Backbone(widen_factor=0.35)
    with pytest.raises(ValueError, match=r'refused.*MobileNetV2'):
        load_into(backbone, tmp_path / 'model.pth')
    load_into(backbone, tmp_path / 'model.pth', allow_pickle=True)
    assert torch.equal(backbone.conv1.conv.weight, model.features[0][0].weight)


def torch_bytes(new_format=True):
    buffer = io.BytesIO()
    torch.save({'w': torch.randn(4000)}, buffer, _use_new_zipfile_serialization=new_format)
    return buffer.getvalue()


def safetensors_bytes():
    from safetensors.torch import save

    return save({'w': torch.randn(4000)})


def hdf5_bytes():
    buffer = io.BytesIO()
    with h5py.File(buffer, 'w') as file:
        file['layer/kernel'] = np.random.default_rng(0).normal(size=4000)
    return buffer.getvalue()


def keras_bytes():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        archive.writestr('config.json', '{}')
        archive.writestr('model.weights.h5', hdf5_bytes())
    return buffer.getvalue()


@pytest.mark.parametrize(
    'content',
    [torch_bytes, lambda: torch_bytes(False), safetensors_bytes, hdf5_bytes, keras_bytes],
    ids=['torch', 'torch_legacy', 'safetensors', 'hdf5', 'keras'],
)
@pytest.mark.parametrize('kept', [0.02, 0.5, 0.99])
def test_a_truncated_file(tmp_path, content, kept):
    whole = content()
    path = tmp_path / 'a.pth'
    path.write_bytes(whole)
    assert read_checkpoint(path)
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match=r'truncated or damaged'):
        read_checkpoint(path)


def test_damage_inside_a_keras_archive(tmp_path):
    whole = bytearray(keras_bytes())
    whole[len(whole) // 2] ^= 0xFF
    (tmp_path / 'a.keras').write_bytes(whole)
    with pytest.raises(ValueError, match='truncated or damaged'):
        read_checkpoint(tmp_path / 'a.keras')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'is empty'),
        (b'<!DOCTYPE html><html>404</html>', 'a web page'),
        (b'\n  <html lang="en">', 'a web page'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:1\n', 'Git LFS pointer'),
        ('Größe: siehe unten\n'.encode() * 100, "text that begins with 'Größe"),
        (b'{"error": "rate limit exceeded"}', 'text that begins with'),
        (b'\x1f\x8b\x08\x00' + bytes(range(256)), 'of no known type'),
    ],
)
def test_files_that_are_no_checkpoint(tmp_path, content, message):
    path = tmp_path / 'a.pth'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_into(MobileNetV2Backbone(), path)


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(ValueError, match=r'gone\.pth does not exist'):
        read_checkpoint(tmp_path / 'gone.pth')
    with pytest.raises(ValueError, match='is a folder'):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize('member', ['archive/data.pkl', 'model.weights.h5'])
def test_a_zip_bomb(tmp_path, member):
    path = tmp_path / 'a.pth'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, bytes(50 * 2**20))
    assert path.stat().st_size < 2**20
    with pytest.raises(ValueError, match=r'unpack to 52428800.*zip bomb'):
        read_checkpoint(path)


def test_an_hdf5_bomb(tmp_path):
    with h5py.File(tmp_path / 'a.h5', 'w') as file:
        file.create_dataset('kernel', (1 << 40,), 'float32', chunks=(1 << 20,), compression='gzip')
    with pytest.raises(ValueError, match='bomb'):
        read_checkpoint(tmp_path / 'a.h5')


def test_hdf5_with_links_to_other_files(tmp_path):
    secret = tmp_path / 'secret'
    secret.write_bytes(bytes(4000))
    with h5py.File(tmp_path / 'a.h5', 'w') as file:
        file.create_dataset('kernel', (1000,), 'float32', external=[(str(secret), 0, 4000)])
    with pytest.raises(ValueError, match='in other files'):
        read_checkpoint(tmp_path / 'a.h5')


def test_archives_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as archive:
        archive.writestr('readme.txt', 'hello')
    with pytest.raises(ValueError, match='neither of torch nor of Keras'):
        read_checkpoint(tmp_path / 'a.zip')
    torch.jit.script(torch.nn.ReLU()).save(tmp_path / 'a.pt')
    with pytest.raises(ValueError, match='TorchScript program'):
        read_checkpoint(tmp_path / 'a.pt')


def test_contents_of_something_else(tmp_path):
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='holds a list; expected a dict'):
        read_checkpoint(tmp_path / 'list.pth')
    (tmp_path / 'plain.pkl').write_bytes(pickle.dumps({'a': 1}))
    with pytest.raises(ValueError, match=r'plain\.pkl is truncated or damaged'):
        read_checkpoint(tmp_path / 'plain.pkl')


@pytest.mark.parametrize(('name', 'package'), [('a.safetensors', 'safetensors'), ('a.h5', 'h5py')])
def test_a_missing_package_is_named(tmp_path, monkeypatch, name, package):
    (tmp_path / name).write_bytes(safetensors_bytes() if package != 'h5py' else hdf5_bytes())
    monkeypatch.setitem(__import__('sys').modules, package, None)
    with pytest.raises(ImportError, match=f'pip install {package}'):
        read_checkpoint(tmp_path / name)


@pytest.mark.parametrize('name', ['a.h5', 'a.safetensors', 'a.pth'])
def test_scalars_are_read(tmp_path, name):
    path = tmp_path / name
    scalars = dict(step=torch.tensor(7), rate=torch.tensor(0.5))
    if name == 'a.h5':
        with h5py.File(path, 'w') as file:
            for key, value in scalars.items():
                file[key] = value.numpy()
    elif name == 'a.safetensors':
        from safetensors.torch import save_file

        save_file(scalars, path)
    else:
        torch.save(scalars, path)
    assert read_checkpoint(path) == scalars
