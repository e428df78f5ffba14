"""Inputs of predict, and output names."""

import pytest

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.predict.inputs import find_sources


def test_outputs_of_different_files_have_different_names(tmp_path):
    names = 'a-2.jpg', 'a.jpg', 'a.png', 'a.bmp', 'b/a.jpg', 'c/a.jpg'
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [source.name for source in find_sources([str(tmp_path / name) for name in names])]
    assert found == ['a-2', 'a', 'a-3', 'a-4', 'a-5', 'a-6']


def test_inputs(tmp_path):
    for name in ('b/2.png', 'a/1.JPG', 'a/1.txt', 'c.mp4'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_sources([str(tmp_path), f'{tmp_path}/a/*', str(tmp_path / 'a/1.JPG')])
    assert [(s.name, s.is_video) for s in found] == [('a/1', False), ('b/2', False), ('c', True)]
    with pytest.raises(UserError, match=r'no image or video at .*\.jpg'):
        find_sources([str(tmp_path / 'nothing' / '*')])
