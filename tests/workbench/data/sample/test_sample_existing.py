"""Generating a sample dataset into an existing folder, with interruptions, and from the tool."""

import json
import time

import pytest
from helpers.files import contents
from helpers.small import tool

from mbv2_backbone.workbench.data.sample import sample
from mbv2_backbone.workbench.data.sample.sample import generate_sample

FOLDERS = ('JPEGImages', 'annotations', 'Annotations', 'SegmentationClass', 'ImageSets')


def fail(*_args, **_kwargs):
    raise AssertionError('generated again')


def interrupt(jobs, *_args, **_kwargs):
    yield jobs[0]
    raise KeyboardInterrupt


def test_an_existing_dataset_is_not_generated_again(tmp_path, monkeypatch):
    first = generate_sample(tmp_path / 'dataset', num_train=2, num_val=1, size=64)
    monkeypatch.setattr(sample, 'track', fail)
    again = generate_sample(tmp_path / 'dataset', num_train=2, num_val=1, size=64)
    assert (first.is_new, again.is_new) == (True, False)
    assert (again.root, again.images, again.empty, again.boxes) == (
        first.root,
        first.images,
        first.empty,
        first.boxes,
    )


@pytest.mark.parametrize('change', [{'num_train': 3}, {'num_val': 2}, {'size': 65}, {'seed': 1}])
def test_another_dataset_needs_force(tmp_path, change):
    first = {'num_train': 2, 'num_val': 1, 'size': 64, 'seed': 0}
    generate_sample(tmp_path / 'dataset', **first)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r'another sample dataset .*--force'):
        generate_sample(tmp_path / 'dataset', **first | change)
    assert contents(tmp_path) == before
    changed = generate_sample(tmp_path / 'dataset', **first | change, force=True)
    assert changed.is_new
    plain = generate_sample(tmp_path / 'plain', **first | change)
    assert contents(changed.root) == contents(plain.root)


@pytest.mark.parametrize('name', ['notes.txt', 'sample.json'])
@pytest.mark.parametrize('force', [False, True])
def test_foreign_folder_is_left_alone(tmp_path, name, force):
    (tmp_path / name).write_text('{"mine": 1}')
    with pytest.raises(ValueError, match='is not a sample dataset'):
        generate_sample(tmp_path, num_train=1, num_val=1, size=64, force=force)
    assert contents(tmp_path) == {name: b'{"mine": 1}'}


def test_empty_folder_is_used(tmp_path):
    assert generate_sample(tmp_path, num_train=1, num_val=1, size=64).is_new
    assert (tmp_path / 'sample.json').is_file()


def test_an_interrupted_generation_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sample, 'track', interrupt)
    with pytest.raises(KeyboardInterrupt):
        generate_sample(tmp_path / 'dataset', num_train=2, num_val=1, size=64)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_replacement_keeps_the_old_dataset(tmp_path, monkeypatch):
    generate_sample(tmp_path / 'dataset', num_train=2, num_val=1, size=64)
    before = contents(tmp_path)
    monkeypatch.setattr(sample, 'track', interrupt)
    with pytest.raises(KeyboardInterrupt):
        generate_sample(tmp_path / 'dataset', num_train=3, num_val=1, size=64, force=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ('name', 'value'), [('num_train', 0), ('num_val', 0), ('size', 63), ('seed', -1)]
)
def test_numbers_out_of_range(tmp_path, name, value):
    with pytest.raises(ValueError, match=f'{name} must be at least .*, got {value}'):
        generate_sample(tmp_path / 'dataset', **{name: value})


def test_tool_helps_at_once():
    start = time.perf_counter()
    asked = tool('data', 'sample', '--help')
    assert time.perf_counter() - start < 2
    assert asked.returncode == 0
    assert '--num-train' in asked.stdout


def test_tool_generates_and_refuses(tmp_path):
    out = tmp_path / 'dataset'
    arguments = ('sample', '--out', str(out), '--num-train', '3', '--size', '64', '--num-val', '2')
    drawn = tool('data', *arguments)
    assert drawn.returncode == 0, drawn.stderr
    assert all(f'{out / folder}\n' in drawn.stdout for folder in FOLDERS)
    assert '5/5' in drawn.stderr
    assert 'images/s' in drawn.stderr
    rows = {line.split()[0]: line.split()[1:] for line in drawn.stdout.splitlines()[-2:]}
    for split in ('train', 'val'):
        items = json.loads((out / f'annotations/{split}.json').read_text())['annotations']
        counts = [sum(a['category_id'] == k for a in items) for k in range(1, 5)]
        assert [int(n) for n in rows[split][2:]] == [*counts, len(items)]
    refused = tool('data', *arguments, '--seed', '1')
    assert refused.returncode == 2
    assert '--force' in refused.stderr
    assert 'Traceback' not in refused.stderr
