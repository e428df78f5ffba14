"""Check which packages are installed, and whether their versions are compatible."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from ...common.messages import first_line
from ..checks.finding import Finding

# Import name: the distributions of the maintained forks and of the official stack, with the oldest
# supported version of each.
STACKS = {
    'mmengine': {'onedl-mmengine': '0.10.12', 'mmengine': '0.10.7'},
    'mmcv': {'onedl-mmcv': '2.3.6', 'mmcv-lite': '2.1.0', 'mmcv': '2.1.0'},
    'mmdet': {'onedl-mmdetection': '3.5.1', 'mmdet': '3.3.0'},
    'mmseg': {'onedl-mmsegmentation': '1.4.2', 'mmsegmentation': '1.2.2'},
}
LEAST = {name: least for group in STACKS.values() for name, least in group.items()}
LEAST['torch'] = '2.6'
# The official mmdet and mmseg reject mmcv from this version on.
OFFICIAL_MMCV_BELOW = '2.2.0'
INSTALL = "pip install -c constraints.txt -e '.[openmmlab]'"
# Distributions that run exported files, with the suffixes of those.
RUNTIMES = {
    'onnxruntime': '.onnx',
    'openvino': '.onnx and .xml',
    'executorch': '.pte',
    'ai-edge-litert': '.tflite',
    'ncnn': '.param',
}
# Distributions that write files which need another runtime or system: the least version, the files,
# and what installs them.
WRITERS = {
    'coremltools': ('9', '.mlpackage', "pip install -e '.[coreml]'"),
    'litert-torch': ('0.10', '.tflite', 'make litert'),
}


def installed_versions() -> dict[str, str]:
    """Return the versions of the installed distributions that matter here, by name."""
    versions = {}
    others = ('torchvision', 'numpy', 'opencv-python', 'opencv-python-headless')
    for name in (*LEAST, *others, *RUNTIMES, *WRITERS):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def check_python(version: tuple[int, ...] = sys.version_info) -> Finding:
    """Check that Python is new enough."""
    text = 'Python ' + '.'.join(map(str, version[:3]))
    if tuple(version[:2]) < (3, 10):
        return Finding('error', f'{text} is too old', 'install Python 3.10 or newer')
    return Finding('ok', text)


def check_stack(versions: Mapping[str, str]) -> list[Finding]:
    """Check that each toolbox is installed once, that all are from one stack, and new enough."""
    found = {
        module: [name for name in names if name in versions] for module, names in STACKS.items()
    }
    singles = [names[0] for names in found.values() if len(names) == 1]
    findings = list(_stack_problems(versions, found, singles))
    if findings:
        return findings
    kind = 'the maintained forks' if singles[0].startswith('onedl-') else 'the official stack'
    return [Finding('ok', f'{kind}: {", ".join(f"{name} {versions[name]}" for name in singles)}')]


def _stack_problems(
    versions: Mapping[str, str], found: Mapping[str, Sequence[str]], singles: Sequence[str]
) -> Iterator[Finding]:
    for module, names in found.items():
        if not names:
            needed = 'error' if module in ('mmengine', 'mmcv') else 'warning'
            yield Finding(needed, f'{module} is not installed', INSTALL)
        elif len(names) > 1:
            both = ' and '.join(f'{name} {versions[name]}' for name in names)
            yield Finding(
                'error',
                f'{both} are installed over each other; both hold the package {module}',
                f'pip uninstall -y {" ".join(names)} && {INSTALL}',
            )
    forks = [name for name in singles if name.startswith('onedl-')]
    official = [name for name in singles if not name.startswith('onedl-')]
    if forks and official:
        yield Finding(
            'error',
            f'packages of two stacks: {", ".join(forks)} and {", ".join(official)}',
            f'pip uninstall -y {" ".join(official)} && {INSTALL}',
        )
    for name in [*singles, *(['torch'] if 'torch' in versions else [])]:
        if _is_older(versions[name], LEAST[name]):
            text = f'{name} {versions[name]} is older than {LEAST[name]}'
            yield Finding('error', text, f"pip install -U '{name}>={LEAST[name]}'")
    for name in ('mmcv', 'mmcv-lite'):
        if name in versions and not _is_older(versions[name], OFFICIAL_MMCV_BELOW):
            text = f'the official mmdet and mmseg refuse {name} {versions[name]}'
            yield Finding('error', text, 'pip install mmcv-lite==2.1.0')


def check_torchvision(
    versions: Mapping[str, str], requirements: list[str], ops_error: str = ''
) -> Finding:
    """Check that torchvision was built for the installed torch.

    Args:
        versions: Versions by distribution name.
        requirements: Requirements of torchvision, from its metadata.
        ops_error: The error of its compiled NMS; empty if it works.
    """
    if 'torch' not in versions or 'torchvision' not in versions:
        missing = [name for name in ('torch', 'torchvision') if name not in versions]
        return Finding('error', f'{" and ".join(missing)} not installed', INSTALL)
    pair = f'torch {versions["torch"]}, torchvision {versions["torchvision"]}'
    wanted = [
        pin.version
        for requirement in map(Requirement, requirements)
        for pin in requirement.specifier
        if requirement.name == 'torch' and pin.operator == '=='
    ]
    reinstall = 'pip install --force-reinstall torch torchvision'
    if wanted and Version(wanted[0]).public != Version(versions['torch']).public:
        return Finding('error', f'{pair}: this torchvision needs torch {wanted[0]}', reinstall)
    if ops_error:
        text = f'{pair}: its compiled operators fail ({ops_error}); they are of another build'
        return Finding('error', text, reinstall)
    return Finding('ok', pair)


def list_runtimes(versions: Mapping[str, str]) -> Finding:
    """Tell which runtimes of exported files are installed; each is optional."""
    told = [
        f'{name} {versions[name]} ({suffixes})' if name in versions else f'no {name} ({suffixes})'
        for name, suffixes in RUNTIMES.items()
    ]
    return Finding('ok', f'runtimes of exported files: {", ".join(told)}')


def web_facts() -> tuple[bool, bool]:
    """Return whether the files for web pages are here, and whether npm is, which fetches them."""
    from ..export import onnxruntime_web

    return onnxruntime_web.find() is not None, shutil.which('npm') is not None


def list_writers(versions: Mapping[str, str], has_web_files: bool, has_npm: bool) -> Finding:
    """Tell what can be exported for phones and browsers; each is optional.

    Args:
        versions: Installed versions.
        has_web_files: Whether the files of onnxruntime-web are cached.
        has_npm: Whether npm can fetch them.
    """
    told = []
    for name, (least, suffix, install) in WRITERS.items():
        found = versions.get(name)
        if found and Version(found) >= Version(least):
            told.append(f'{name} {found} ({suffix})')
        else:
            instead = f'{name} {found} is older than {least}' if found else f'no {name}'
            told.append(f'{instead} ({suffix}; {install})')
    fetched = 'npm fetches it' if has_npm else 'needs npm: apt-get install npm, brew install node'
    web = '' if has_web_files else f'; {fetched}'
    told.append(f'{"no " * bool(web)}onnxruntime-web (web pages{web})')
    return Finding('ok', f'writers of exported files: {", ".join(told)}')


def torchvision_facts() -> tuple[list[str], str]:
    """Return what torchvision's metadata requires, and the error of its compiled NMS."""
    try:
        requirements = importlib.metadata.requires('torchvision') or []
    except importlib.metadata.PackageNotFoundError:
        return [], ''
    try:
        import torch
        from torchvision.ops import nms

        nms(torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([1.0]), 0.5)
    except Exception as error:  # a missing symbol or operator, or no torch
        return requirements, first_line(error)
    return requirements, ''


def find_compiled_ops() -> Path | None:
    """Return the compiled `mmcv._ext`, if mmcv has one."""
    spec = find_spec('mmcv')
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    paths = (folder / f'_ext{suffix}' for suffix in EXTENSION_SUFFIXES)
    return next((path for path in paths if path.exists()), None)


def check_compiled_ops(path: Path | None, torch_version: str) -> Finding:
    """Check that the compiled operators of mmcv, if it has any, load with this torch."""
    if path is None:
        return Finding('ok', 'mmcv has no compiled operators; torchvision replaces them')
    try:
        # torch's libraries, which the extension is linked to, must be loaded first.
        import torch  # noqa: F401

        spec = spec_from_file_location('_ext', path, loader=ExtensionFileLoader('_ext', str(path)))
        module_from_spec(spec)
    except ImportError as error:
        return Finding(
            'error',
            f'{path} was compiled for another torch than {torch_version}: {first_line(error)}',
            f'pip uninstall -y mmcv onedl-mmcv && {INSTALL}',
        )
    return Finding('ok', f'mmcv has compiled operators that load: {path}')


def _is_older(version: str, least: str) -> bool:
    """Compare releases: NVIDIA's builds are numbered as pre-releases, such as `2.6.0a0+df5bbc0`."""
    return Version(Version(version).base_version) < Version(least)
