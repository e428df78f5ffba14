"""`tools/data.py fetch` as a user runs it."""

import argparse
import importlib
import os
import pickle
import subprocess
import sys

import pytest
from helpers.fetch import small_catalogue
from helpers.paths import ROOT

from mbv2_backbone.workbench.data.public import fetch as fetch_module
from mbv2_backbone.workbench.data.public.catalogue import CATALOGUE

TOOL = ROOT / 'tools' / 'data.py'


def test_ctrl_c_ends_with_one_line(monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.syspath_prepend(str(TOOL.parent))
    monkeypatch.delitem(sys.modules, 'data', raising=False)
    tool = importlib.import_module('data')
    sys.modules.pop('data')
    monkeypatch.setattr(fetch_module, 'fetch', interrupted)
    args = argparse.Namespace(name='bccd', out='data', mirror='', keep_archives=False)
    with pytest.raises(SystemExit) as ended:
        tool.fetch_data(args)
    assert ended.value.code == 130
    assert capsys.readouterr().err.split('\n', 2)[1].startswith('interrupted; fetch bccd again')


RUN_TWICE_WITH_OTHER_CATALOGUE = """
import pickle, runpy, sys
from pathlib import Path
from mbv2_backbone.workbench.data.public import fetch
fetch.CATALOGUE = pickle.loads(Path(sys.argv.pop(1)).read_bytes())
sys.argv = sys.argv[1:]
for _ in range(2):
    runpy.run_path(sys.argv[0], run_name='__main__')
"""


def run_tool(*args):
    paths = os.pathsep.join(map(str, (TOOL.parent.parent, TOOL.parent)))
    return subprocess.run(
        [sys.executable, *map(str, args)],
        capture_output=True,
        text=True,
        env=os.environ | {'no_proxy': '127.0.0.1', 'PYTHONPATH': paths},
    )


def test_the_tool_fetches_once(archive_server, tmp_path):
    (tmp_path / 'catalogue').write_bytes(pickle.dumps(small_catalogue()[0]))
    args = ('fetch', 'camvid', '--out', tmp_path, '--mirror', archive_server.url)
    result = run_tool('-c', RUN_TWICE_WITH_OTHER_CATALOGUE, tmp_path / 'catalogue', TOOL, *args)
    assert result.returncode == 0, result.stderr
    assert f'\nfetched {tmp_path}/CamVid\n' in result.stdout
    assert result.stdout.endswith(f'\nalready there: {tmp_path}/CamVid\n')
    assert 'MB/s' in result.stderr
    assert len(archive_server.requests) == 1


def test_without_a_network_the_tool_says_what_to_put_where(archive_server, tmp_path):
    archive_server.close()
    result = run_tool(TOOL, 'fetch', 'voc12aug', '--out', tmp_path, '--mirror', archive_server.url)
    assert result.returncode == 2
    assert 'Traceback' not in result.stderr
    assert f'put them into {tmp_path}/archives' in result.stderr
    for archive in CATALOGUE['voc12aug']:
        for text in (archive.name, f'SHA-256 {archive.sha256}', *archive.addresses):
            assert text in result.stderr
    assert 'VOCtrainval_11-May-2012.tar, about 2.0 GB' in result.stderr
    assert not (tmp_path / 'fetching-voc12aug').exists()
