"""Workarounds for the OpenMMLab toolboxes: one function each, called in order by `prepare`.

Each docstring starts with the reason, the versions concerned and when the function can go. How
mmengine finds packages and their configs is fixed in `packages`.
"""

import ast
import atexit
import functools
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import numpy as np
import torch

from . import packages as compat_packages

# Environment variable: 1 turns the fast start on for every program, 0 off. If unset, our
# tools set it to 1 for themselves and for the processes that they start.
FAST_START = 'MBV2_BACKBONE_FAST_START'
TOOLBOXES = ('mmdet', 'mmseg')


def prepare() -> None:
    """Make mmcv, mmdet and mmseg usable as they were installed; safe to call again.

    Imports neither mmdet nor mmseg, and mmcv.ops only if a toolbox was imported before and has to
    be fixed. `tests/compat/test_plain_import.py` lists all that this changes in other packages; the
    fast start changes more.

    Raises:
        RuntimeError: a module that was imported earlier cannot be fixed.
    """
    if _is_to_start_fast():
        start_fast()
    provide_ext()
    fix_early_imports()
    compat_packages.find_mmseg_configs()
    if find_spec('pkg_resources') is None:
        compat_packages.replace_pkg_resources()
    compat_packages.find_own_configs()
    allow_checkpoint_classes()


def _is_to_start_fast() -> bool:
    """Return whether the environment asks for it, or Python is starting `-m mbv2_backbone`.

    That imports the package before the tool can set the variable. Meanwhile `sys.argv[0]` is `-m`.
    """
    runs_package = sys.argv[:1] == ['-m'] and __package__.partition('.')[0] in sys.orig_argv
    return (os.environ.get(FAST_START) or str(int(runs_package))) == '1'


@functools.cache
def start_fast() -> None:
    """Load heavy packages on first use, and skip start-up work that mmengine's Runner can defer.

    Reason, versions and when to delete: see `fast_start` and `lazy_imports`, which also says what
    replaces it on Python 3.15, where Python itself can import lazily.
    """
    from . import lazy_imports

    lazy_imports.install()  # before mmengine's files that fast_start imports
    from . import fast_start as startup

    startup.lay_out_configs()
    startup.defer_figure()
    startup.defer_dynamo()
    startup.find_base_configs()
    startup.collect_little()
    compat_packages.replace_pkg_resources()


class _ExtFinder(MetaPathFinder):
    """Finds `mmcv._ext` in `mmcv_ext.py`."""

    def __init__(self) -> None:
        self.early_modules = [
            module
            for name, module in list(sys.modules.items())
            if name.split('.')[0] in ('mmcv', *TOOLBOXES) and module is not None
        ]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of the stand-in, for `mmcv._ext` only."""
        del path, target
        if fullname != 'mmcv._ext':
            return None
        return spec_from_file_location(fullname, Path(__file__).with_name('mmcv_ext.py'))


def _ext_finder() -> _ExtFinder | None:
    return next((finder for finder in sys.meta_path if isinstance(finder, _ExtFinder)), None)


def provide_ext() -> None:
    """Let `mmcv._ext` be found in `mmcv_ext.py`, unless mmcv has a compiled extension.

    Reason: `import mmcv.ops`, and with it `mmdet.models`, needs the compiled extension, which has
    no wheel for current torch and does not build with torch >= 2.13.
    Versions: mmcv and mmcv-lite 2.1.0, onedl-mmcv 2.3.6.
    Delete when: a wheel of mmcv with ops installs with pip alone on current torch.
    """
    mmcv = find_spec('mmcv')  # not find_spec('mmcv._ext'), which imports mmcv without the ops
    if not PathFinder.find_spec('mmcv._ext', mmcv.submodule_search_locations) and not _ext_finder():
        sys.meta_path.append(_ExtFinder())


def fix_early_imports() -> None:
    """Give modules that were imported before `provide_ext` the real ops.

    Reason: the maintained forks import ops in `try:` and on failure bind functions, classes or
    None that do not work, so what was imported before mbv2_backbone would stay broken; mmdet's
    own tools/train.py imports mmdet.utils before it reads the config's custom_imports.
    Versions: onedl-mmdetection 3.5.1, onedl-mmsegmentation 1.4.2; also mmcv.cnn.bricks.transformer
    of mmcv 2.1.0 and onedl-mmcv 2.3.6. The official mmdet and mmseg fail instead, and a failed
    import of them can simply be repeated.
    Delete when: `provide_ext` goes.

    Raises:
        RuntimeError: a module cannot be fixed, because the ops still cannot be imported or because
            a class was derived from one that does not work.
    """
    finder = _ext_finder()
    if finder is None:
        return
    broken = {}
    for module in finder.early_modules:
        for source, names, statement in _guarded_imports(module):
            scope = dict(vars(module))
            if source == 'mmcv':
                try:
                    exec(statement, scope)
                except ImportError as error:
                    broken[module.__name__] = str(error)
                    continue
            for name in names & scope.keys():
                stand_in = vars(module).get(name)
                foreign = (getattr(stand_in, '__module__', None) or source).split('.')[0] != source
                derived = [
                    value.__name__
                    for value in vars(module).values()
                    if foreign and stand_in in getattr(value, '__bases__', ())
                ]
                if derived:
                    broken[module.__name__] = f'{", ".join(derived)} needs {name} of {source}'
                else:
                    setattr(module, name, scope[name])
    if broken:
        listed = '; '.join(f'{name} ({why})' for name, why in sorted(broken.items()))
        raise RuntimeError(
            f'These modules were imported before mbv2_backbone and lack the ops of mmcv: {listed}. '
            'Restart Python and import mbv2_backbone before mmdet and mmseg, or put '
            "custom_imports = dict(imports=['mbv2_backbone']) at the top of the config."
        )
    finder.early_modules = []


def _guarded_imports(module: ModuleType) -> Iterator[tuple[str, set[str], CodeType]]:
    """Find `try: from mmcv.ops import …`, or from a toolbox, at the top level of a module.

    Yields:
        The package imported from, the names that are bound, the compiled import.
    """
    loader = getattr(module.__spec__, 'loader', None)
    source = loader.get_source(module.__name__) if hasattr(loader, 'get_source') else None
    if source is None or 'try:' not in source:
        return
    for node in ast.parse(source).body:
        if not isinstance(node, ast.Try):
            continue
        imports = [child for child in node.body if isinstance(child, ast.ImportFrom)]
        roots = {(child.module or '').split('.')[0] for child in imports}
        for root in ('mmcv', *TOOLBOXES):
            if root in roots and find_spec(root) is not None:
                names = {alias.asname or alias.name for child in imports for alias in child.names}
                body = ast.Module(body=list(imports), type_ignores=[])
                yield root, names, compile(body, module.__name__, 'exec')
                break


def allow_checkpoint_classes() -> None:
    """Let `torch.load(weights_only=True)` read the checkpoints that mmengine's Runner writes.

    Reason: they hold HistoryBuffers, numpy scalars and OneCycleLR's functions. With mmengine
    `--resume` fails; onedl-mmengine allows part of this, including any `getattr`, and otherwise
    falls back to weights_only=False.
    Versions: mmengine 0.10.7 and onedl-mmengine 0.10.12 on torch >= 2.6.
    Delete when: mmengine loads its own checkpoints with weights_only=True.
    """
    from mmengine.logging.history_buffer import HistoryBuffer
    from mmengine.optim import OneCycleParamScheduler

    rebuild_array, rebuild_scalar = np.empty(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    allowed = [
        (HistoryBuffer, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (
            OneCycleParamScheduler,
            'mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler',
        ),
        (_harmless_attribute, 'builtins.getattr'),
        (np.ndarray, 'numpy.ndarray'),
        (np.dtype, 'numpy.dtype'),
    ]
    for core in ('numpy.core', 'numpy._core'):  # the names that numpy 1 and numpy 2 write
        allowed += [
            (rebuild_scalar, f'{core}.multiarray.scalar'),
            (rebuild_array, f'{core}.multiarray._reconstruct'),
        ]
    for code in '?bhilqBHILQefd':
        dtype_class = type(np.dtype(code))
        allowed.append((dtype_class, f'numpy.dtypes.{dtype_class.__name__}'))
    # Pairs with a name, which torch takes from 2.6 on, outlive onedl-mmengine's `safe_globals`
    # block, which at its end removes the bare objects that it added.
    if torch.__version__ >= (2, 6):
        torch.serialization.add_safe_globals(allowed)


def _harmless_attribute(owner: type, name: str) -> Any:
    """Replace `getattr` in a pickle, only for what mmengine's own checkpoints read with it.

    Raises:
        ValueError: the pickle reads anything else.
    """
    from mmengine.logging.history_buffer import HistoryBuffer
    from mmengine.optim import OneCycleParamScheduler

    is_statistic = owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean')
    is_annealing = owner is OneCycleParamScheduler and name in (
        '_annealing_cos',
        '_annealing_linear',
    )
    if not is_statistic and not is_annealing:
        raise ValueError(
            f'The checkpoint reads the attribute {name!r} of {owner!r}; expected a statistic of '
            'HistoryBuffer or a curve of OneCycleParamScheduler. Load it only if you trust it, '
            'with torch.load(weights_only=False).'
        )
    return getattr(owner, name)


def cpu_wrapper(cfg: Any) -> dict:
    """Return the config of the wrapper for a model that several CPU processes train.

    Reason, versions and when to delete: see `join_cpu_processes`.
    """
    return dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )


def join_cpu_processes(cfg: Any) -> None:
    """Join the other processes over gloo before the Runner is built; call it under torchrun.

    Reason: without a GPU mmengine's `init_dist` fails in torch.cuda.set_device, and the Runner
    wraps the model for the GPU of the local rank.
    Versions: mmengine 0.10.7, onedl-mmengine 0.10.12.
    Delete when: the Runner trains with `launcher='pytorch'` and backend gloo where CUDA is absent.
    """
    cfg.setdefault('model_wrapper_cfg', cpu_wrapper(cfg))
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group('gloo')


def end_joined_process() -> None:
    """Exit with 0, without finalising Python, if this is one of several processes over gloo.

    Everything due at exit is done first: threads are joined, `atexit` functions run.

    Reason: gloo's threads take the GIL to free a tensor. On a busy machine, one that is late is
    ended by Python's finalisation, and C++ then aborts: "terminate called without an active
    exception", so that torchrun reports a finished run as failed. destroy_process_group joins these
    threads, but not once a model was wrapped in DDP.
    Versions: torch 2.15 with Python 3.11.
    Delete when: torch waits for its threads before Python is finalised (pytorch/pytorch#179291).
    """
    if not (torch.distributed.is_initialized() and torch.distributed.get_backend() == 'gloo'):
        return
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
