"""`.pt2` files: the check reads from the file which of its records are pickles."""

import io
import json
import pickle
import warnings
import zipfile

import pytest
import torch
from helpers.pickle import MakesFolder

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.deploy.pt2_check import check_program

LIKE_PICKLES = (b'PK\x03\x04', b'\x80\x02\x00\x3f', b'\x80\x05\x00\x3f')
WEIGHT, CONFIG = 'program/data/weights/weight_0', 'weights_config.json'


class Scale(torch.nn.Module):
    """A module whose weight and constant are floats with the first bytes of a pickle or a zip."""

    def __init__(self):
        super().__init__()
        values = torch.frombuffer(bytearray(b''.join(LIKE_PICKLES)), dtype=torch.float32)
        self.weight = torch.nn.Parameter(values.clone())
        self.constant = values.flip(0)

    def forward(self, images):
        return images * self.weight + self.constant


@pytest.fixture(scope='module')
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp('program') / 'program.pt2'
    exported = torch.export.export(Scale(), (torch.zeros(2, 3),))
    torch.export.save(exported, path, extra_files={'metadata.json': '{}'})
    return path


def changed(program, path, replaced, added=()):
    """Write a program; replace records by `{end of name: change}`, add `[(name, data)]`."""
    with zipfile.ZipFile(program) as source, zipfile.ZipFile(path, 'w') as target:
        for name in source.namelist():
            data = source.read(name)
            for end, change in replaced.items():
                data = change(data) if name.endswith(end) else data
            target.writestr(name, data)
        for name, data in added:
            target.writestr(name, data)
    return path


def test_tensors_whose_bytes_look_like_pickles_are_accepted(program, tmp_path):
    with zipfile.ZipFile(program) as archive:
        assert archive.read(WEIGHT).startswith(LIKE_PICKLES)
    check_program(program)
    images = torch.randn(2, 3)
    with torch.no_grad():
        assert torch.equal(torch.export.load(program).module()(images), Scale()(images))


@pytest.fixture(params=['protocol 0', 'protocol 2', 'torch.save'])
def pickle_with_code(request, tmp_path):
    sign = tmp_path / 'code_ran'

    if request.param == 'torch.save':
        buffer = io.BytesIO()
        torch.save(MakesFolder(sign), buffer)
        data = buffer.getvalue()
    else:
        data = pickle.dumps(MakesFolder(sign), protocol=int(request.param[-1]))
    yield data
    assert not sign.exists()


def listed_as_pickle(data):
    config = json.loads(data)
    for entry in config['config'].values():
        entry['use_pickle'] = True
    return json.dumps(config).encode()


def listed_nowhere(data):
    return b'{"config": {}}'


def listing_as_raw(path_name):
    def change(data):
        config = json.loads(data)
        entry = next(iter(config['config'].values()))
        config['config']['more'] = dict(entry, path_name=path_name)
        return json.dumps(config).encode()

    return change


def test_pickles_are_refused_wherever_torch_would_open_them(program, tmp_path, pickle_with_code):
    def put(data):
        return pickle_with_code

    path = tmp_path / 'evil.pt2'
    legacy = 'program/data/weights/model.pt'
    cases = [
        ({'sample_inputs/model.pt': put}, []),
        ({'weight_0': put, CONFIG: listed_as_pickle}, []),
        ({'weight_0': put, CONFIG: listed_nowhere}, []),
        ({CONFIG: listing_as_raw('model.pt')}, [(legacy, pickle_with_code)]),
        ({}, [('program/data/constants/opaque_obj_0', pickle_with_code)]),
        ({}, [('program/data/aotinductor/model/model.so', pickle_with_code)]),
    ]
    for replaced, added in cases:
        with pytest.raises(UserError, match='more than tensors'):
            check_program(changed(program, path, replaced, added))


def test_duplicate_records_are_refused(program, tmp_path):
    for name in (WEIGHT, WEIGHT.upper()):
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # zipfile says so, too
            path = changed(program, tmp_path / 'twice.pt2', {}, [(name, b'')])
        with pytest.raises(UserError, match='more than once'):
            check_program(path)
