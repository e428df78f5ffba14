"""`make matrix`: what is recorded for a failing combination of versions."""

import json
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from helpers.paths import ROOT


@pytest.fixture
def matrix(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / 'tests/matrix'))
    sys.modules.pop('run', None)
    import run

    yield run
    del sys.modules['run']


def test_the_end_of_the_error_of_a_failed_row_is_kept(matrix, tmp_path, monkeypatch):
    said = [f'line {i}' for i in range(30)]
    said += [
        'Looking in https://registry.example',
        f'at {ROOT}/a.py of {Path.home()}/b',
        'no torch',
    ]

    def fail_to_install(command, **_):
        is_pip = 'install' in command
        return CompletedProcess(command, int(is_pip), stdout='', stderr='\n'.join(said))

    results = tmp_path / 'compatibility.json'
    results.write_text('{"other": {"row": "other", "passed": true, "versions": {}}}')
    monkeypatch.setattr(matrix, 'RESULTS', results)
    monkeypatch.setattr(matrix.subprocess, 'run', fail_to_install)
    monkeypatch.setattr(matrix.shutil, 'rmtree', lambda *_, **__: None)
    monkeypatch.setattr(matrix, 'find_python', lambda _: 'python')
    row = matrix.ROWS[0].name
    monkeypatch.setattr(sys, 'argv', ['run.py', row])
    assert matrix.main() == 1
    outcomes = json.loads(results.read_text())
    assert outcomes['other']['passed']
    error = outcomes[row]['error']
    assert error == [*said[12:30], 'at ./a.py of ~/b', 'no torch']
    assert '| fails' in matrix.table(outcomes)


def test_a_python_that_is_missing_is_only_resolved_and_no_result_is_lost(
    matrix, tmp_path, monkeypatch
):
    import resolve

    asked = []

    def answer(python, requirements, folder, pins):
        assert folder.is_dir()
        assert 'numpy==' in pins
        asked.append((python, requirements))
        return {'torch': '2.15.0', 'onedl-mmcv': '2.3.6', 'x': '1'}, CompletedProcess([], 0)

    results = tmp_path / 'compatibility.json'
    ran = dict(row='py3.13-openmmlab', passed=True, versions={})
    results.write_text(json.dumps({ran['row']: ran}))
    monkeypatch.setattr(resolve, 'resolve', answer)
    monkeypatch.setattr(matrix, 'RESULTS', results)
    monkeypatch.setattr(matrix, 'find_python', lambda _: None)
    for _ in range(2):
        monkeypatch.setattr(sys, 'argv', ['run.py', ran['row'], 'py3.14-openmmlab'])
        assert matrix.main() == 0
    assert asked == [('3.14.0', resolve.requirements_of('openmmlab'))] * 2
    outcomes = json.loads(results.read_text())
    assert outcomes[ran['row']] == ran
    assert outcomes['py3.14-openmmlab']['is_resolved']
    line = matrix.table(outcomes).splitlines()[-1]
    assert '| 3.14 | 2.15.0 |' in line
    assert '| resolves, not run |' in line
