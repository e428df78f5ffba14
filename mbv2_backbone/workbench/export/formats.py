"""The export formats: what each can do, what it needs, and which module writes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType

from packaging.requirements import Requirement

from ...common.messages import UserError
from ...deploy.metadata import Metadata
from ...deploy.runtimes import SUFFIXES


@dataclass(frozen=True, kw_only=True)
class Format:
    """One export format.

    Attributes:
        writer: Module of this folder. It has `save(graph, metadata, path)`, which returns a
            `Saved`, and if there are 8-bit kinds `save_int8(saved, metadata, images, path, kind)`.
        packages: Packages to write a file and to run it, as pip takes them.
        int8_packages: Further ones for 8 bits.
        fetch: Module of this folder whose `fetch()` gets what no Python package has.
        suffix: Of what is written, where `Predictor` does not run it; else `SUFFIXES` has it.
        has_nms: Whether a file can end in final boxes and masks; else its outputs are raw.
        has_raw: Whether its outputs can be raw.
        int8: Kinds of 8-bit files, the default first.
        no_int8: Why there are none, for the message.
        has_dynamic_batch: Whether a file can take any number of images.
        precisions: Of the network in a file, the default first.
        checks_metadata: Whether `writer` has `check_metadata(metadata)`, which refuses what such a
            file cannot do.
        install: What installs the packages, if `pip install` with their names does not.
    """

    writer: str
    packages: tuple[str, ...] = ()
    int8_packages: tuple[str, ...] = ()
    fetch: str | None = None
    suffix: str | None = None
    has_nms: bool = True
    has_raw: bool = True
    int8: tuple[str, ...] = ()
    no_int8: str = ''
    has_dynamic_batch: bool = True
    precisions: tuple[str, ...] = ('float32',)
    checks_metadata: bool = False
    install: str | None = None


_ONNX_PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
_WEB = Format(
    writer='.to_web',
    packages=_ONNX_PACKAGES,
    fetch='.onnxruntime_web',
    has_raw=False,
    no_int8='; browsers run 8 bits slower than float32',
    has_dynamic_batch=False,
)
FORMATS = {
    'onnx': Format(writer='.to_onnx', packages=_ONNX_PACKAGES, int8=('default',)),
    'openvino': Format(
        writer='.to_openvino',
        packages=('onnx', 'onnxscript', 'openvino'),
        int8_packages=('onnxruntime',),
        int8=('default',),
    ),
    'ncnn': Format(
        writer='.to_ncnn',
        packages=('pnnx', 'ncnn'),
        int8=('default',),
        has_dynamic_batch=False,
        checks_metadata=True,
    ),
    'torch-export': Format(writer='.to_torch', has_nms=False),
    'executorch': Format(writer='.to_executorch', packages=('executorch',), has_nms=False),
    'litert': Format(
        writer='.to_litert',
        packages=('litert_torch', 'ai_edge_litert'),
        int8_packages=('ai_edge_quantizer',),
        int8=('default', 'strict'),
        has_dynamic_batch=False,
        checks_metadata=True,
        install='pip install --no-deps -r litert.txt (or make litert)',
    ),
    'coreml': Format(
        writer='.to_coreml',
        packages=('coremltools>=9',),
        has_dynamic_batch=False,
        precisions=('float16', 'float32'),
        checks_metadata=True,
    ),
    'web': replace(_WEB, suffix='_web'),
    'web-file': replace(_WEB, suffix='.html'),
}


def writer_of(to: str) -> ModuleType:
    """Import the module that writes a format."""
    return import_module(FORMATS[to].writer, __package__)


def check_metadata(to: str, metadata: Metadata) -> None:
    """Refuse what a file of a format cannot do.

    Raises:
        UserError: It says what, and what to do instead.
    """
    if FORMATS[to].checks_metadata:
        writer_of(to).check_metadata(metadata)


def suffix_of(to: str) -> str:
    """Return the end of the names of a format's files or folders."""
    return FORMATS[to].suffix or SUFFIXES[to]


def check_format(
    to: str,
    *,
    int8: str | None = None,
    dynamic_batch: bool = False,
    precision: str | None = None,
) -> None:
    """Refuse what a format cannot do, and one whose packages are not all installed.

    Args:
        to: The format.
        int8: The kind of 8-bit file, if one is to be written.
        dynamic_batch: Whether the file shall take any number of images.
        precision: Of the network; by default the format's first.

    Raises:
        UserError: If there is no such format, or it cannot do that; says what to install.
    """
    if to not in FORMATS:
        raise UserError(f'the formats are {", ".join(FORMATS)}, got {to}')
    wanted = FORMATS[to]
    if int8 and int8 not in wanted.int8:
        able = [name for name, other in FORMATS.items() if int8 in other.int8]
        option = '--int8' if int8 == 'default' else f'--int8 {int8}'
        raise UserError(
            f'{option} is available for {" and ".join(able)}, not for {to}{wanted.no_int8}'
        )
    if dynamic_batch and not wanted.has_dynamic_batch:
        raise UserError(
            f'a {to} file takes one image at a time; leave out --dynamic-batch (Predictor takes '
            f'any number of images and runs the file once for each)'
        )
    if precision and precision not in wanted.precisions:
        raise UserError(
            f'--precision {precision} is not available for {to}, '
            f'only {" and ".join(wanted.precisions)}'
        )
    packages = wanted.packages + (wanted.int8_packages if int8 else ())
    missing = [name for name in packages if not _is_installed(Requirement(name))]
    if missing:
        quoted = ' '.join(f"'{name}'" if '>' in name else name for name in missing)
        raise UserError(
            f'{to} files need {" and ".join(missing)}, not installed here: '
            f'{wanted.install or "pip install " + quoted}'
        )
    if wanted.fetch:
        import_module(wanted.fetch, __package__).fetch()


def _is_installed(package: Requirement) -> bool:
    if find_spec(package.name) is None:
        return False
    return not package.specifier or package.specifier.contains(version(package.name))
