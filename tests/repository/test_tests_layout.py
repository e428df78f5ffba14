"""tests/ mirrors the package, has its helpers in one place, and hides no broken install."""

import ast

from helpers.paths import ROOT

TESTS = ROOT / 'tests'
OWN_FOLDERS = ('configs', 'helpers', 'matrix', 'repository')  # the others mirror what they test
FILES = sorted(path for path in TESTS.rglob('*.py') if path.parent != TESTS / 'matrix')
TEST_FILES = [path for path in FILES if path.name.startswith('test_')]
DOORS = [path.stem for path in (ROOT / 'mbv2_backbone').glob('[a-z]*.py')]


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


def test_beside_the_folders_are_tests_of_the_modules_at_the_package_s_root():
    starts = tuple(f'test_{door}' for door in DOORS)
    root = [path for path in TEST_FILES if path.parent == TESTS]
    assert names(path for path in root if not path.stem.startswith(starts)) == []


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
    """All that the tests need is in the extra `dev`; one that skips itself hides a bad install."""
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
