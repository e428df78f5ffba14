"""Stays and returns of what is passed between the files of a checkout."""

import runpy
import sys

import pytest
from measure.journeys import Journey

FILES = {
    'mbv2_backbone/top.py': """
def run(folder, read, check):
    read(folder)
    for _ in range(3):
        check(folder)  # counts once
    check('elsewhere')
    return [finish(place) for place in [folder]]

def finish(folder):
    return folder
""",
    'mbv2_backbone/read.py': """
def read(path):
    return inside(path)

def inside(path):
    return path
""",
    'mbv2_backbone/check.py': """
def check(path):
    return path
""",
}


@pytest.fixture
def checkout(tmp_path):
    found = {}
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        found |= runpy.run_path(str(path))
    return tmp_path, found


def follow(checkout, traveller, place, value):
    root, functions = checkout
    journey = Journey(root, traveller, place)
    sys.setprofile(journey)
    try:
        functions['run'](value, functions['read'], functions['check'])
    finally:
        sys.setprofile(None)
    return journey


def test_a_folder_is_followed_through_the_files(checkout):
    journey = follow(checkout, 'folder', '/data/mine', '/data/mine/')
    assert journey.stays == [
        ('mbv2_backbone/top.py', 'run'),
        ('mbv2_backbone/read.py', 'read'),
        ('mbv2_backbone/check.py', 'check'),
        ('mbv2_backbone/top.py', 'finish'),
    ]
    assert journey.num_returns == 1


def test_another_value_is_not_followed(checkout):
    assert follow(checkout, 'folder', '/data/mine', '/data/other').stays == []
    assert follow(checkout, 'config', '', '/data/mine').stays == []


def test_a_config_is_told_by_its_type(checkout):
    kind = type('Config', (), {})
    assert follow(checkout, 'config', '', kind()).num_returns == 1
