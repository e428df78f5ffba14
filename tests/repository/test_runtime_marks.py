"""Tests that load a runtime are marked, and run in their own process."""

import inspect
import shutil
import subprocess
import sys

import pytest
from helpers.runtimes import loaded_runtimes

IN_A_FIXTURE = """
import pytest
{mark}
@pytest.fixture(scope='module')
def model():
    import openvino

def test_a(model):
    pass

def test_b(model):
    pass
"""


def run(folder, text):
    """Run a test file with our hooks; return the exit status and the output."""
    (folder / 'openvino.py').touch()
    (folder / 'pytest.ini').write_text('[pytest]\nmarkers = runtime\n')
    shutil.copy(inspect.getfile(loaded_runtimes), folder / 'conftest.py')
    (folder / 'test_it.py').write_text(text)
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', 'test_it.py']
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_a_test_that_loads_a_runtime_needs_the_mark(tmp_path):
    status, said = run(tmp_path, IN_A_FIXTURE.format(mark=''))
    assert status == pytest.ExitCode.TESTS_FAILED
    assert 'this test loads openvino; give its file `pytestmark' in said, said
    assert '2 passed, 1 error' in said, said


def test_with_the_mark_it_may(tmp_path):
    status, said = run(tmp_path, IN_A_FIXTURE.format(mark='pytestmark = pytest.mark.runtime'))
    assert status == 0, said


def test_no_test_file_loads_a_runtime_when_it_is_imported(tmp_path):
    status, said = run(tmp_path, 'import openvino\n\ndef test_a():\n    pass\n')
    assert status == pytest.ExitCode.USAGE_ERROR
    assert 'loads openvino when it is imported' in said


def test_the_hooks_are_in_force_here(request):
    assert 'runtimes_where_they_are_marked' in request.fixturenames
    hooks = request.config.pluginmanager.hook
    for hook in (hooks.pytest_collection_finish, hooks.pytest_collection_modifyitems):
        modules = {implementation.function.__module__ for implementation in hook.get_hookimpls()}
        assert 'helpers.runtimes' in modules
