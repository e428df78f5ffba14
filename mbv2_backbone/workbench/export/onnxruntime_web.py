"""Get the files of onnxruntime-web that a page needs, from a folder, the cache or npm."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from torch import hub

from ...common.files import folder_replaced_whole, sha256_of_file
from ...common.messages import UserError

VERSION = '1.30.0'
VARIABLE = 'MBV2_BACKBONE_ONNXRUNTIME_WEB'  # names a folder that has the files
WASM_FILES = {
    'ort.wasm.bundle.min.mjs': '11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90',
    'ort-wasm-simd-threaded.wasm': (
        '3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2'
    ),
}
WEBGPU_FILES = {
    'ort.webgpu.bundle.min.mjs': '0730816731ce2cdfb06f273da065d4a1c7091eb9d1756a83b2916c8a89d015e2',
    'ort-wasm-simd-threaded.asyncify.wasm': (
        '39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da'
    ),
}
_FILES = WASM_FILES | WEBGPU_FILES
_PACKAGE = f'onnxruntime-web@{VERSION}'
_TIMEOUT_SECONDS = 600


def find() -> Path | None:
    """Return the folder with the files, of exactly this version, if there is one already.

    Raises:
        UserError: If the folder that the environment variable names lacks them.
    """
    given = os.environ.get(VARIABLE)
    if given:
        for folder in (Path(given), Path(given, 'dist')):
            if _is_complete(folder):
                return folder
        raise UserError(
            f'{VARIABLE}={given} has not all of {", ".join(_FILES)} of {_PACKAGE}, byte for byte; '
            f'unpack what `npm pack {_PACKAGE}` writes there, or unset the variable'
        )
    return _cache() if _is_complete(_cache()) else None


def fetch() -> Path:
    """Return a folder with the files, of exactly this version; npm downloads them once.

    Raises:
        UserError: If the folder that the environment variable names lacks them, or npm is needed
            and missing, or cannot download them.
    """
    found = find()
    if found is None:
        found = _cache()
        with folder_replaced_whole(found) as new:
            _download(new)
    return found


def _cache() -> Path:
    return Path(hub.get_dir(), f'onnxruntime-web-{VERSION}')


def _is_complete(folder: Path) -> bool:
    paths = {folder / name: digest for name, digest in _FILES.items()}
    return all(path.is_file() and sha256_of_file(path) == paths[path] for path in paths)


def _download(target: Path) -> None:
    npm = shutil.which('npm')
    otherwise = (
        f'Or set {VARIABLE} to a folder with the unpacked package, made by `npm pack {_PACKAGE}` '
        f'on another machine'
    )
    if npm is None:
        raise UserError(
            f'a web page needs {_PACKAGE} from npm, which is not installed here: get it with '
            f'Node.js (apt-get install npm, brew install node). {otherwise}'
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, 'pack', _PACKAGE, '--ignore-scripts', '--fetch-retries=1']
        try:
            subprocess.run(
                command, cwd=folder, timeout=_TIMEOUT_SECONDS, check=True, capture_output=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, 'stderr', None) or b'').decode(errors='replace').splitlines()
            reason = next((line for line in said if 'npm error' in line), str(error))
            raise UserError(f'npm cannot download {_PACKAGE}: {reason}. {otherwise}') from error
        (archive,) = Path(folder).glob('*.tgz')
        with tarfile.open(archive) as packed:
            for name in _FILES:
                content = packed.extractfile(f'package/dist/{name}').read()
                (target / name).write_bytes(content)
    if not _is_complete(target):
        raise UserError(
            f'what npm downloaded as {_PACKAGE} differs from the published files; is its registry '
            f'a mirror? {otherwise}'
        )
