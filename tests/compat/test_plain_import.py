"""`import mbv2_backbone` changes only the listed functions of other packages."""

import json

import pytest
from helpers.process import run_python

OWN_CONFIGS = 'bases `mbv2_backbone::…` resolve, and `mmengine.hub` finds them'
NO_PKG_RESOURCES = 'bases `mmdet::…` and `mmseg::…` resolve where there is no pkg_resources'
ALLOWED = {
    'mmengine.config.config:Config._get_cfg_path': OWN_CONFIGS,
    'mmengine.config.config:_get_package_and_cfg_path': OWN_CONFIGS,
    'mmengine.config.utils:_get_package_and_cfg_path': OWN_CONFIGS,
    'mmengine.hub.hub:_get_package_and_cfg_path': OWN_CONFIGS,
    'mmengine.config.utils:MODULE2PACKAGE[mmseg]': 'bases `mmseg::…` resolve with the fork',
    'torch._weights_only_unpickler:_marked_safe_globals_set': 'checkpoints of mmengine load',
    'sys.meta_path: _ExtFinder of mbv2_backbone at the end': '`mmcv._ext` is found',
} | {
    f'mmengine.{module}:{name}': NO_PKG_RESOURCES  # with mmengine 0.10.7
    for module in ('config.config', 'hub.hub', 'utils', 'utils.package_utils')
    for name in ('get_installed_path', 'is_installed')
}
# Some of what else a process changes that is to start fast.
FAST_START = {
    'sys.meta_path: _Finder of mbv2_backbone at 0',
    'mmengine.config.config:Config.pretty_text',
    'mmengine.registry.registry:Registry.get',
    'mmengine.visualization.visualizer:Visualizer._initialize_fig',
    'torch.optim.optimizer:Optimizer.zero_grad.__wrapped__.__dynamo_disable',
    'torch.optim.sgd:SGD.step',
}
PRELUDE = """
import inspect, json, sys
from types import ModuleType
import six  # mmdet imports it, and it has a finder of its own
import torch, torchvision, mmengine
import mmengine.config, mmengine.dataset, mmengine.hub, mmengine.logging, mmengine.model
import mmengine.optim, mmengine.registry, mmengine.runner, mmengine.visualization
PACKAGES = ('torch', 'torchvision', 'mmengine')

def entries(place, scope, owner):
    '''Everything that a module or one of its classes holds, by name.'''
    for name, value in list(scope.items()):
        yield place + name, value
        yield from entries_of_a_function(place + name, value)
        qualified = (place + name).partition(':')[2]
        if inspect.isclass(value) and (value.__module__, value.__qualname__) == (owner, qualified):
            yield from entries(f'{place}{name}.', vars(value), owner)

def entries_of_a_function(place, value):
    while inspect.isfunction(value) and str(value.__module__).partition('.')[0] in PACKAGES:
        for name in ('__code__', '__defaults__', '__kwdefaults__'):
            yield f'{place}.{name}', getattr(value, name)
        for name, attribute in list(vars(value).items()):
            yield f'{place}.{name}', attribute
        value, place = vars(value).get('__wrapped__'), f'{place}.__wrapped__'

def snapshot():
    found = {}
    for name, module in list(sys.modules.items()):
        if name.partition('.')[0] in PACKAGES:
            found.update(entries(f'{name}:', vars(module), name))
    for key, value in mmengine.config.utils.MODULE2PACKAGE.items():
        found[f'mmengine.config.utils:MODULE2PACKAGE[{key}]'] = value
    return found

modules, before = set(sys.modules), snapshot()
finders, hooks = list(sys.meta_path), list(sys.path_hooks)
"""
COMPARE = """
after = snapshot()
changes = [
    name for name, value in after.items()
    if before.get(name) is not value and name.partition(':')[0] in modules
    and not isinstance(value, ModuleType)
]
changes += before.keys() - after.keys()
# A function that was replaced is named once, not with its code and its defaults.
changes = [name for name in changes if name.rpartition('.__')[0] not in changes]
assert sys.path_hooks == hooks
for index, finder in enumerate(sys.meta_path):
    if finder not in finders:
        name, package = type(finder).__name__, type(finder).__module__.partition('.')[0]
        place = 'the end' if index >= len(finders) else index
        changes.append(f'sys.meta_path: {name} of {package} at {place}')
assert [finder for finder in sys.meta_path if finder in finders] == finders
print(json.dumps([len(before), changes]))
"""


PARTS = ('det', 'seg', 'joint', 'weights', 'deploy')


def changes(**settings):
    """Return what importing the package and its parts changes, by name."""
    names = ['mbv2_backbone', *(f'mbv2_backbone.{part}' for part in PARTS)]
    code = f'{PRELUDE}import {", ".join(names)}\n{COMPARE}'
    count, names = json.loads(run_python(code, **settings).splitlines()[-1])
    assert count > 50_000
    return set(names)


def test_nothing_of_torch_torchvision_and_mmengine_changes_that_need_not():
    names = changes()
    assert not names - ALLOWED.keys(), sorted(names - ALLOWED.keys())
    # Each that is allowed is still needed; those of the official releases only there.
    needed = {name for name, why in ALLOWED.items() if why != NO_PKG_RESOURCES}
    assert needed <= names, sorted(needed - names)


STATE = """
import logging, os, random, signal, sys, warnings
import numpy, torch, mmengine
import mmengine.config, mmengine.registry, mmengine.runner
import mmcv.cnn  # registers its layers

def state():
    return dict(
        environment=dict(os.environ),
        warnings=list(warnings.filters),
        signals={number: signal.getsignal(number) for number in signal.valid_signals()},
        excepthook=sys.excepthook,
        handlers=list(logging.root.handlers),
        level=logging.root.level,
        threads=(torch.get_num_threads(), torch.get_num_interop_threads()),
        dtype=torch.get_default_dtype(),
        deterministic=(torch.are_deterministic_algorithms_enabled(), torch.is_grad_enabled()),
        precision=(torch.get_float32_matmul_precision(), torch.backends.mkldnn.enabled),
        numpy=numpy.geterr(),
        random=(random.getstate(), torch.get_rng_state().tolist(), str(numpy.random.get_state())),
        registries={
            name: set(registry.module_dict)
            for name, registry in vars(mmengine.registry.root).items()
            if isinstance(registry, mmengine.registry.Registry)
        },
    )

before = state()
import mbv2_backbone
after = state()
added = {
    f'{name}: {key}'
    for name, keys in after['registries'].items() for key in keys - before['registries'][name]
}
changed = [key for key in before if key != 'registries' and before[key] != after[key]]
print(sorted(added), changed)
"""


def test_the_import_leaves_the_process_as_it_is_and_registers_the_backbone():
    added = ['MODELS: LeanReLU6', 'MODELS: MobileNetV2Backbone']  # and its activation
    assert run_python(STATE).splitlines()[-1] == f'{added} []'


@pytest.mark.slow
def test_the_comparison_sees_what_the_fast_start_changes():
    names = changes(MBV2_BACKBONE_FAST_START='1')
    assert names >= FAST_START, sorted(FAST_START - names)
