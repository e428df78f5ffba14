"""Toolbox imports that are deferred until their names are used."""

import ast
import sys

import pytest

from mbv2_backbone.compat.lazy_imports import defer_imports


@pytest.mark.parametrize(
    ('code', 'is_deferred'),
    [
        ('import scipy\ndef use(): return scipy.pi', True),
        ('import scipy.special as s\nclass A:\n  def use(self): return [s for _ in (1,)]', True),
        ('from scipy import pi as p, e\ndef use(): return (lambda: p + e)()', True),
        ('try:\n  import scipy\n  ok = True\nexcept ImportError: ok = False\ndef f(): ok', True),
        ('if True:\n  import scipy\nelse:\n  import json\ndef use(): return scipy', True),
        ('"""Text."""\nfrom __future__ import annotations\nimport scipy\ndef f(): scipy', True),
        ('import scipy\nclass A(scipy.Base): pass', False),
        ('import scipy\ndef use(x=scipy.pi): pass', False),
        ('import scipy\n@scipy.wrap\ndef use(): pass', False),
        ('import scipy\ndef use():\n  global scipy', False),
        (
            'try:\n  import scipy\nexcept ImportError: ok = False\nif not ok: raise ValueError',
            False,
        ),
        ('import scipyx\ndef use(): return scipyx', False),
        ('from scipy import *', False),
        ('def __getattr__(name): pass\nimport scipy', False),
        ('', False),
    ],
)
def test_imports_are_deferred_unless_needed_at_once(code, is_deferred):
    tree = ast.parse(code)
    defer_imports(tree, 'mmdet')
    assert ('__load_deferred__' in ast.unparse(tree)) == is_deferred
    left = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import)]
    now = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    assert len(now) == len(left)


@pytest.fixture
def toolbox(tmp_path, monkeypatch):
    """Return a function that runs code as a toolbox module, with `shapely` not loaded yet."""
    (tmp_path / 'shapely.py').write_text('class Base: pass\ndef double(x): return 2 * x\n')
    monkeypatch.syspath_prepend(tmp_path)
    # Set first: what the test imports is then taken out again, so that no later test meets it.
    monkeypatch.setitem(sys.modules, 'shapely', None)
    monkeypatch.delitem(sys.modules, 'shapely')

    def load(code):
        tree = ast.parse(code)
        defer_imports(tree, '')
        scope = {'__name__': 'toolbox_module'}
        exec(compile(tree, 'toolbox_module.py', 'exec'), scope)
        return scope

    return load


def test_deferred_names_are_the_real_ones_and_can_be_replaced(toolbox):
    scope = toolbox("""
from shapely import Base, double
import json
class Tool:
    '''Text.'''
    def use(self, x):
        '''Text.'''
        def inner():
            return double(x)
        return inner()
""")
    assert 'shapely' not in sys.modules
    assert scope['Tool'].use.__doc__ == 'Text.'
    assert scope['Tool']().use(3) == 6
    import shapely

    assert scope['__getattr__']('Base') is shapely.Base
    scope['double'] = str
    assert scope['Tool']().use(3) == '3'
    with pytest.raises(AttributeError, match=r'toolbox_module.*absent'):
        scope['__getattr__']('absent')


def test_a_missing_package_is_reported_on_use_or_handled_as_before(toolbox):
    scope = toolbox("""
try:
    from shapely import absent
except ImportError:
    absent = None
from timm.nothing_there import thing
def use(): return absent
def fail(): return thing
""")
    with pytest.raises(ModuleNotFoundError, match=r'nothing_there|timm'):
        scope['fail']()
