"""Imports go down only, there are no import circles, and file names are unique."""

import shutil

import pytest
from helpers.paths import ROOT
from measure import structure

MIRRORED = ('mbv2_backbone/det', 'mbv2_backbone/seg')
MAX_DOORS = 16
MAX_LINES = 23_500  # at the end of the redesign
ADDED_LINES = {  # by what was built on it
    "TensorFlow's trained models": 1_600,
    'what users bring': 3_100,
    "every phone's runtime": 3_000,
    'half the memory, half the wait': 1_900,
    'the classifier': 1_750,
}


@pytest.fixture(scope='module')
def found():
    return structure.arrows(ROOT)


def test_no_import_goes_up(found):
    assert [str(arrow) for arrow in structure.upward(found)] == []


def test_no_files_and_no_folders_import_in_a_circle(found):
    assert structure.circles(found) == []
    assert structure.folder_circles(found) == []


def test_the_package_has_few_doors_and_few_lines():
    assert len(structure.doors(ROOT)) <= MAX_DOORS
    assert structure.lines(ROOT) <= MAX_LINES + sum(ADDED_LINES.values())


def test_file_names_are_unique_unless_det_and_seg_mirror_each_other():
    repeated = structure.repeated_names(ROOT)
    expected = {
        name: [f'{folder}/{name}' for folder in MIRRORED]
        for name, paths in repeated.items()
        if [path.rpartition('/')[0] for path in paths] == list(MIRRORED)
    }
    assert repeated == expected


@pytest.fixture
def copy(tmp_path):
    """The Python files of the package, to put a wrong import into."""
    for path in structure.python_files(ROOT):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    return tmp_path


@pytest.mark.parametrize(
    ('file', 'line', 'target'),
    [
        ('common/files.py', 'from ..workbench import run', 'workbench/run.py'),
        ('common/files.py', 'from mbv2_backbone.det.head import SSDLiteHead', 'det/head.py'),
        ('arch.py', 'def late():\n    from . import backbone', 'backbone.py'),
        ('arch.py', 'def late():\n    import mbv2_backbone.backbone', 'backbone.py'),
        ('det/head.py', 'if TYPE_CHECKING:\n    from ..seg import losses', 'seg/losses.py'),
        (
            'weights/load.py',
            "import_module('mbv2_backbone.workbench.run')",
            'workbench/run.py',
        ),
        (
            'deploy/nms.py',
            "importlib.import_module('mbv2_backbone.workbench.run')",
            'workbench/run.py',
        ),
        ('deploy/nms.py', "import_module('..workbench.run', __package__)", 'workbench/run.py'),
    ],
    ids=[
        'top',
        'by name',
        'in a function',
        'whole path',
        'for types',
        'by string',
        'attribute',
        'relative string',
    ],
)
def test_an_upward_import_is_named(copy, file, line, target):
    path = copy / 'mbv2_backbone' / file
    path.write_text(f'{path.read_text()}\n{line}\n')
    (wrong,) = structure.upward(structure.arrows(copy))
    assert str(wrong) == f'mbv2_backbone/{file} -> mbv2_backbone/{target}'


def test_an_import_of_a_tool_is_named(copy):
    path = copy / 'mbv2_backbone/workbench/run.py'
    path.write_text(f'{path.read_text()}\nfrom measure.speed import plan\n')
    (wrong,) = structure.upward(structure.arrows(copy))
    assert wrong.target == 'tools/measure/speed/plan.py'


def test_circles_are_named(copy):
    package = copy / 'mbv2_backbone'
    for here, there in (('progress', 'code_layout'), ('code_layout', 'progress')):
        path = package / 'common' / f'{here}.py'
        path.write_text(f'{path.read_text()}\nfrom . import {there}\n')
    expected = [[f'mbv2_backbone/common/{name}.py' for name in ('code_layout', 'progress')]]
    assert structure.circles(structure.arrows(copy)) == expected
    # The files of two folders import in no circle; the folders do.
    path = package / 'workbench/configs/palettes.py'
    path.write_text(f'{path.read_text()}\nfrom ..train import signals\n')
    circles = structure.folder_circles(structure.arrows(copy))
    assert [f'mbv2_backbone/workbench/{name}' for name in ('configs', 'train')] in circles


def test_a_new_door_needs_a_floor(copy):
    (copy / 'mbv2_backbone/attic.py').write_text('from . import arch\n')
    with pytest.raises(ValueError, match='attic to FLOORS'):
        structure.upward(structure.arrows(copy))
    assert 'attic.py' in structure.doors(copy)


def test_names_are_counted_across_folders(copy):
    (copy / 'mbv2_backbone/common/run.py').write_text('')
    assert list(structure.repeated_names(copy)['run.py']) == [
        'mbv2_backbone/common/run.py',
        'mbv2_backbone/workbench/run.py',
    ]


def test_the_report_has_each_figure(copy):
    path = copy / 'mbv2_backbone/arch.py'
    path.write_text(f'{path.read_text()}\nfrom . import backbone\n')
    text = structure.report(copy)
    assert f'{structure.lines(copy):,} lines' in text
    assert 'mbv2_backbone/arch.py -> mbv2_backbone/backbone.py' in text
    assert 'mbv2_backbone/arch.py <-> mbv2_backbone/backbone.py' in text


def test_arrows_against_any_order_are_the_fewest_that_leave_no_circle():
    down = {('c', 'b'), ('b', 'a'), ('c', 'a')}
    assert structure.against_any_order(down) == []
    assert structure.against_any_order(down | {('a', 'c')}) == [('a', 'c')]
    other = {('y', 'x'), ('x', 'y')}
    assert len(structure.against_any_order(down | {('a', 'c')} | other)) == 2
    assert structure.against_any_order(structure.room_arrows(structure.arrows(ROOT))) == []
