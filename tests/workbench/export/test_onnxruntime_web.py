"""The files of onnxruntime-web: from a folder, from the cache, from npm, or a clear message."""

import hashlib
import os
import subprocess
import tarfile

import pytest

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.export import onnxruntime_web
from mbv2_backbone.workbench.export.onnxruntime_web import VARIABLE, fetch

CONTENTS = {'runtime.mjs': b'module', 'runtime.wasm': b'binary'}


@pytest.fixture(autouse=True)
def _small_files(monkeypatch, tmp_path):
    """Other files, and an empty cache."""
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in CONTENTS.items()}
    monkeypatch.setattr(onnxruntime_web, '_FILES', digests)
    monkeypatch.setattr(onnxruntime_web.hub, 'get_dir', lambda: str(tmp_path / 'cache'))
    monkeypatch.delenv(VARIABLE, raising=False)


def write(folder, contents=CONTENTS):
    folder.mkdir(parents=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def npm(monkeypatch, tmp_path):
    """A function that replaces npm by one that packs a folder; it counts its calls."""
    calls = []

    def install(contents):
        write(tmp_path / 'package' / 'dist', contents)

        def run(command, *, cwd, **_):
            calls.append(command)
            with tarfile.open(f'{cwd}/onnxruntime-web.tgz', 'w:gz') as archive:
                archive.add(tmp_path / 'package', 'package')

        monkeypatch.setattr(onnxruntime_web.shutil, 'which', lambda name: f'/bin/{name}')
        monkeypatch.setattr(onnxruntime_web.subprocess, 'run', run)
        return calls

    return install


def test_npm_is_asked_once(npm):
    calls = npm(CONTENTS)
    folder = fetch()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENTS
    assert fetch() == folder
    assert len(calls) == 1
    (folder / 'runtime.wasm').write_bytes(b'damaged')
    assert (fetch() / 'runtime.wasm').read_bytes() == CONTENTS['runtime.wasm']
    assert len(calls) == 2
    assert '--ignore-scripts' in calls[0]
    assert any(word.startswith('onnxruntime-web@1.') for word in calls[0])


def test_another_file_from_npm_is_refused(npm, tmp_path):
    npm(CONTENTS | {'runtime.wasm': b'changed'})
    with pytest.raises(UserError, match='differs from the published files'):
        fetch()
    assert not any((tmp_path / 'cache').iterdir())


@pytest.mark.parametrize('inside', ['', 'dist'])
def test_a_folder_may_have_the_files(monkeypatch, tmp_path, inside):
    folder = write(tmp_path / 'given' / inside)
    monkeypatch.setenv(VARIABLE, str(tmp_path / 'given'))
    assert fetch() == folder
    (folder / 'runtime.mjs').write_bytes(b'of another version')
    with pytest.raises(UserError, match=r'has not all of runtime.mjs, runtime.wasm of onnx'):
        fetch()


def test_without_npm_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setattr(onnxruntime_web.shutil, 'which', lambda name: None)
    with pytest.raises(UserError, match=f'not installed here: get it with Node.js.*{VARIABLE}'):
        fetch()


def test_without_a_network_the_message_has_npms_reason(monkeypatch):
    def run(command, **_):
        said = b'npm warn one thing\nnpm error code EAI_AGAIN\nnpm error more'
        raise subprocess.CalledProcessError(1, command, stderr=said)

    monkeypatch.setattr(onnxruntime_web.shutil, 'which', lambda name: os.devnull)
    monkeypatch.setattr(onnxruntime_web.subprocess, 'run', run)
    with pytest.raises(
        UserError, match=f'cannot download .*: npm error code EAI_AGAIN.*{VARIABLE}'
    ):
        fetch()
