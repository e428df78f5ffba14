"""docs/accuracy: each record fits its config as it is now, and each table its records."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from helpers.paths import ROOT
from measure.recipes.record import digest_of, read_record

from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.environment import versions

DOCS = ROOT / 'docs'
# One per run: its seeds share their settings, or no table could be made.
RUNS = {
    str(path.relative_to(DOCS)).rsplit('-seed', 1)[0]: path
    for path in (DOCS / 'accuracy').rglob('*.json')
}
TOOLBOXES = ('mmengine', 'mmdet', 'mmseg')


@pytest.mark.parametrize('run', sorted(RUNS))
def test_a_record_fits_the_current_config(run, monkeypatch):
    record = read_record(RUNS[run])
    installed = versions()
    if any(record['versions'][name] != installed[name] for name in TOOLBOXES):
        pytest.skip("a config takes defaults from the toolboxes, and the record's were others")
    monkeypatch.chdir(ROOT)
    overrides = [*record['options'], f'randomness.seed={record["seed"]}']
    settings = shlex.join([record['config'], '--cfg-options', *overrides])
    assert record['command'] == f'python tools/train.py {settings}'
    assert record['digest'] == digest_of(load_config(record['config'], overrides))


def test_the_tables_are_those_of_the_records(tmp_path):
    docs = tmp_path / 'docs'
    shutil.copytree(DOCS / 'accuracy', docs / 'accuracy')
    page = docs / 'accuracy.md'
    expected = (DOCS / 'accuracy.md').read_text()
    # Nothing is left between the marks, so what the commands write there is all there is.
    page.write_text(
        re.sub(r'(<!-- (\w+):begin -->\n).*?(<!-- \2:end -->)', r'\1\3', expected, flags=re.S)
    )
    assert page.read_text().count('<!--') == expected.count('<!--') == 16
    for command in re.findall(r'^python (tools/accuracy.py table .*)$', one_line(expected), re.M):
        subprocess.run(
            [sys.executable, *shlex.split(command.replace('tools', str(ROOT / 'tools'), 1))],
            cwd=tmp_path,
            check=True,
            env={**os.environ, 'PYTHONPATH': str(ROOT)},
        )
    assert page.read_text() == expected


def one_line(text):
    return re.sub(r'\\\n\s*', '', text)
