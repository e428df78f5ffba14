"""Every tool: prompt --help, one-line user errors."""

import time

import pytest
from helpers.paths import ROOT
from helpers.small import tool

TOOLS = tuple(
    path.stem for path in (ROOT / 'tools').glob('*.py') if path.read_text().startswith('#!')
)


@pytest.mark.parametrize('name', TOOLS)
def test_help_answers_at_once(name):
    took = []
    for _ in range(3):
        begin = time.perf_counter()
        result = tool(name, '--help')
        took.append(time.perf_counter() - begin)
        assert result.returncode == 0
        assert 'usage' in result.stdout
    assert min(took) < 1


def test_user_errors_end_with_one_message_and_code_2(tmp_path):
    result = tool('train', tmp_path / 'none.py')
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith('error: no config file')
    assert 'Traceback' not in result.stderr
