"""Where checkpoints come from: local paths, web addresses and the toolboxes' short names."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.parse
from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path

from ..common.downloads import download
from ..common.files import sha256_of_file
from ..common.messages import first_line
from .checkpoint_files import file_type

TIMM_TAGS = {
    'mobilenetv2_050': 'lamb_in1k',
    'mobilenetv2_100': 'ra_in1k',
    'mobilenetv2_140': 'ra_in1k',
}
"""The default tags of timm's pretrained MobileNetV2s; the other widths were never trained."""

_TENSORFLOW = 'http://download.tensorflow.org/models/'
TENSORFLOW_ARCHIVES = {
    'ssdlite_mobilenet_v2_coco_2018_05_09': f'{_TENSORFLOW}object_detection/',
    'deeplabv3_mnv2_pascal_train_aug_2018_01_29': _TENSORFLOW,
    'deeplabv3_mnv2_dm05_pascal_trainaug_2018_10_01': _TENSORFLOW,
    'deeplabv3_mnv2_cityscapes_train_2018_02_05': _TENSORFLOW,
}
"""Where the archives of TensorFlow's trained models are; each has a frozen graph."""
_SLIM = 'https://storage.googleapis.com/mobilenet_v2/checkpoints/'
_SLIM_MODEL = re.compile(r'mobilenet_v2_\d\.\d+_\d+')
_FROZEN_GRAPH = re.compile(r'(.*/)?(frozen_inference_graph|mobilenet_v2_[\d._]+_frozen)\.pb')
_MAX_GRAPH_BYTES = 200 * 2**20

# A hash at the end of a name, as torchvision and OpenMMLab add it; not a date.
_HASH_IN_NAME = re.compile(r'-(?!20\d{6}\.)([0-9a-f]{8,64})\.\w+$')


def fetch(address: str | PathLike[str]) -> Path:
    """Return the local file of an address, and download it if needed.

    A download is cached in torch's hub folder (`TORCH_HOME`), and is checked by its length, by the
    hash in its name or after `#sha256=`, and by its first bytes. A cached file is checked again.

    Args:
        address: A local path, `http(s)://...`, `torchvision://mobilenet_v2`,
            `timm://mobilenetv2_100.ra_in1k`, `open-mmlab://...`, `mmcls://...`, or
            `tensorflow://` and one of `TENSORFLOW_ARCHIVES` or slim's `mobilenet_v2_1.0_224`.

    Raises:
        ValueError: If the address is unknown, or the downloaded file is not the expected one.
        RuntimeError: If the download failed.
    """
    address = str(address)
    scheme, separator, name = address.partition('://')
    if not separator:
        return Path(address).expanduser()
    if scheme in ('http', 'https'):
        return _download(address)
    if scheme not in _RESOLVERS:
        raise ValueError(
            f'unknown address {address}; give a local path or one of http://, https://, '
            f'{", ".join(f"{known}://" for known in _RESOLVERS)}'
        )
    return _RESOLVERS[scheme](name)


def _look_up(name: str, table: dict[str, str], where: str) -> str:
    if name not in table:
        near = [known for known in table if 'mobilenet_v2' in known.lower()]
        raise ValueError(f'{where} has no {name!r}; its MobileNetV2 models are {", ".join(near)}')
    return table[name]


def _from_table(scheme: str, name: str) -> Path:
    from mmengine.runner import checkpoint

    table = getattr(checkpoint, f'get_{scheme}_models')()
    return _download(_look_up(name, table, scheme))


def _from_openmmlab(name: str) -> Path:
    from mmengine.runner import checkpoint

    name = checkpoint.get_deprecated_model_names().get(name, name)
    target = _look_up(name, checkpoint.get_external_models(), 'open-mmlab')
    # The user's `open_mmlab.json` may list files in mmengine's home.
    return fetch(target if '://' in target else Path(checkpoint._get_mmengine_home(), target))


def _from_timm(name: str) -> Path:
    model, dot, tag = name.partition('.')
    if not dot:
        tag = _look_up(model, TIMM_TAGS, 'timm')
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise ImportError(
            f"timm://{name} needs the hub's client: pip install huggingface_hub safetensors"
        ) from error
    try:
        return Path(hf_hub_download(f'timm/{model}.{tag}', 'model.safetensors'))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise RuntimeError(
            f'could not get timm://{name} ({type(error).__name__}: {first_line(error)}). '
            f'Check the name, or download model.safetensors yourself and give its path'
        ) from error


def _from_tensorflow(name: str) -> Path:
    if name not in TENSORFLOW_ARCHIVES and not _SLIM_MODEL.fullmatch(name):
        raise ValueError(
            f'tensorflow has no {name!r}; its MobileNetV2 models are '
            f'{", ".join(TENSORFLOW_ARCHIVES)} and mobilenet_v2_1.0_224 of slim'
        )
    folder = TENSORFLOW_ARCHIVES.get(name)
    archive = _download(f'{folder}{name}.tar.gz' if folder else f'{_SLIM}{name}.tgz', _check_tar)
    graph = archive.with_name(f'{name}.pb')
    if not graph.is_file():
        _unpack_graph(archive, graph)
    return graph


def _check_tar(path: Path) -> None:
    """Check that a file is a tar archive.

    Raises:
        ValueError: If it is not.
    """
    if not tarfile.is_tarfile(path):
        raise ValueError(f'{path} is not a tar archive, or is truncated; download it again')


def _unpack_graph(archive: Path, graph: Path) -> None:
    """Copy the frozen graph out of an archive; nothing else in it is unpacked."""
    with tempfile.NamedTemporaryFile(dir=graph.parent, suffix='.part', delete=False) as partial:
        try:
            with tarfile.open(archive) as tar:
                members = (m for m in tar if m.isfile() and _FROZEN_GRAPH.fullmatch(m.name))
                member = next(members, None)
                if member is None or member.size > _MAX_GRAPH_BYTES:
                    raise ValueError(f'{archive} contains no frozen graph of a MobileNetV2')
                shutil.copyfileobj(tar.extractfile(member), partial)
        except (tarfile.TarError, EOFError, OSError) as error:
            Path(partial.name).unlink()
            raise ValueError(f'{archive} is damaged ({first_line(error)})') from error
    Path(partial.name).replace(graph)


_RESOLVERS: dict[str, Callable[[str], Path]] = {
    'torchvision': partial(_from_table, 'torchvision'),
    'timm': _from_timm,
    'open-mmlab': _from_openmmlab,
    'openmmlab': _from_openmmlab,
    'mmcls': partial(_from_table, 'mmcls'),
    'tensorflow': _from_tensorflow,
}


def _download(url: str, check: Callable[[Path], object] = file_type) -> Path:
    """Return the verified file of `url` from the cache, downloaded once for all processes."""
    from filelock import FileLock

    url, _, fragment = url.partition('#')
    file_name = Path(urllib.parse.unquote(urllib.parse.urlparse(url).path)).name
    if not file_name:
        raise ValueError(f'{url} names no file; give the address of the checkpoint itself')
    in_name = _HASH_IN_NAME.search(file_name)
    wanted = fragment.removeprefix('sha256=').lower() or (in_name[1] if in_name else '')
    path = _cache_path(url, file_name, in_name is not None)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f'{path}.lock'):
        if not _is_intact(path, wanted):
            _download_to(url, path, wanted, check)
    return path


def _cache_path(url: str, file_name: str, has_hash: bool) -> Path:
    from torch import hub

    folder = Path(hub.get_dir(), 'checkpoints')
    if has_hash:  # the file is the same from any address, so torch's own cache path will do
        return folder / file_name
    return folder / hashlib.sha256(url.encode()).hexdigest()[:12] / file_name


def _is_intact(path: Path, wanted: str) -> bool:
    record = path.with_name(f'{path.name}.sha256')
    if not wanted and record.is_file():
        wanted = record.read_text(encoding='utf-8').strip()
    return path.is_file() and bool(wanted) and sha256_of_file(path).startswith(wanted)


def _download_to(url: str, path: Path, wanted: str, check: Callable[[Path], object]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, suffix='.part')
    os.close(handle)
    partial = Path(name)
    try:
        download(url, partial, name=path.name)
        check(partial)
        digest = sha256_of_file(partial)
        if not digest.startswith(wanted):
            raise ValueError(
                f'{url}: expected a file whose SHA-256 begins with {wanted}, got {digest}. The '
                f'file was changed on the way or on the server'
            )
        partial.replace(path)
        path.with_name(f'{path.name}.sha256').write_text(f'{digest}\n', encoding='utf-8')
    except urllib.error.HTTPError as error:
        raise ValueError(f'{url}: the server says {error.code} {error.reason}') from error
    except OSError as error:
        raise RuntimeError(
            f'could not download {url} ({first_line(error)}). On a machine without network, '
            f'download it elsewhere and give its path'
        ) from error
    finally:
        partial.unlink(missing_ok=True)
