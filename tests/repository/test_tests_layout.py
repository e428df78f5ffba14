"""tests/ mirrors the package, has its helpers in one place, and hides no broken install."""

import ast
from pathlib import Path

import pytest
from helpers.paths import ROOT

TESTS = ROOT / 'tests'
OWN_FOLDERS = (
    'configs',
    'helpers',
    'matrix',
    'repository',
)  # the others mirror the folders of the package and tools
FILES = sorted(path for path in TESTS.rglob('*.py') if path.parent != TESTS / 'matrix')
TEST_FILES = [path for path in FILES if path.name.startswith('test_')]
PROPERTIES = (  # tests of no single module
    'annotations/test_fuzz.py',
    'compat/test_plain_import.py',
    'tools/test_help.py',
    'weights/layouts/test_torch_names.py',
    'workbench/export/test_every_format.py',
    'workbench/train/test_no_sync.py',
)


def names(paths):
    return [path.relative_to(TESTS).as_posix() for path in paths]


def nodes_of(path, kind):
    tree = ast.parse(path.read_text(encoding='utf-8'))
    return [node for node in ast.walk(tree) if isinstance(node, kind)]


def imported(path):
    """Return the modules that a file imports, or imports from."""
    modules = {alias.name for node in nodes_of(path, ast.Import) for alias in node.names}
    return modules | {node.module or '' for node in nodes_of(path, ast.ImportFrom)}


def test_each_folder_mirrors_one_of_the_package_or_of_the_tools():
    folders = {path.parent.relative_to(TESTS) for path in TEST_FILES}
    assert (
        sorted(
            folder.as_posix()
            for folder in folders
            if folder.as_posix() not in OWN_FOLDERS
            and not (ROOT / 'mbv2_backbone' / folder).is_dir()
            and not (folder.parts[0] == 'tools' and (ROOT / folder).is_dir())
        )
        == []
    )


def modules_of(folder):
    """Return the modules that a folder's tests are named after, and the folder itself."""
    source = ROOT / folder if folder.parts[:1] == ('tools',) else ROOT / 'mbv2_backbone' / folder
    inside = {path.stem for path in source.glob('[a-z]*') if path.is_dir() or path.suffix == '.py'}
    return inside | {folder.name}


def misnamed(files):
    """Return the test files that are named after no module of the folder that they mirror."""
    return [
        name
        for name in files
        if Path(name).parent.as_posix() not in OWN_FOLDERS
        and name not in PROPERTIES
        and not any(
            f'{Path(name).stem}_'.startswith(f'test_{module}_')
            for module in modules_of(Path(name).parent)
        )
    ]


def test_each_file_is_named_after_a_module_or_is_a_listed_property():
    files = names(TEST_FILES)
    assert misnamed(files) == []
    assert set(PROPERTIES) <= set(files)


@pytest.mark.parametrize(
    'name',
    [
        'test_pictures.py',
        'det/test_heads.py',
        'det/test_fuzz.py',
        'weights/layouts/test_load.py',
        'tools/test_backbone.py',
        'tools/measure/speed/test_export.py',
    ],
)
def test_a_misnamed_file_is_found(name):
    assert misnamed(['det/test_head.py', name, 'det/test_head_loss.py', 'test_arch.py']) == [name]


def test_files_have_different_names_unless_det_and_seg_mirror_each_other():
    places = {}
    for path in TEST_FILES:
        places.setdefault(path.name, set()).add(path.parent.relative_to(TESTS).as_posix())
    assert {name: at for name, at in places.items() if len(at) > 1 and at != {'det', 'seg'}} == {}


def test_helpers_lie_in_one_place_and_have_no_tests():
    helpers = set(FILES) - set(TEST_FILES) - {TESTS / 'conftest.py'}
    assert names(sorted(path for path in helpers if path.parent != TESTS / 'helpers')) == []
    assert names(path for path in TEST_FILES if path.parent == TESTS / 'helpers') == []


def test_no_test_imports_from_a_test():
    def is_test(module):
        parts = module.split('.')
        return parts[0] == 'tests' or any(part.startswith('test_') for part in parts)

    assert names(path for path in FILES if any(map(is_test, imported(path)))) == []


def test_a_missing_dependency_fails_the_tests():
    """The extra `dev` has all that the tests need; a test that skips itself hides a bad install."""
    skipping = [
        path
        for path in FILES
        if any(node.attr == 'importorskip' for node in nodes_of(path, ast.Attribute))
    ]
    assert names(skipping) == []


def test_the_root_of_the_repository_comes_from_one_place():
    asking = [
        path for path in FILES if any(node.id == '__file__' for node in nodes_of(path, ast.Name))
    ]
    assert names(asking) == ['helpers/paths.py']
