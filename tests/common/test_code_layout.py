"""Configs are formatted as code without a change of meaning."""

import random

import pytest
from mmengine.config import Config

from mbv2_backbone.common.code_layout import lay_out


def random_value(rng, depth):
    kind = rng.choice(['number', 'text', 'none'] + ['dict', 'list', 'tuple', 'plain'] * (depth > 0))
    if kind == 'number':
        return rng.choice([rng.random(), rng.randrange(10**6), -1, True, float('inf')])
    if kind == 'text':
        return ''.join(rng.choices('ab \'"\\\né', k=rng.randrange(30)))
    if kind == 'none':
        return None
    items = [random_value(rng, depth - 1) for _ in range(rng.randrange(6))]
    if kind in ('list', 'tuple'):
        return items if kind == 'list' else tuple(items)
    return {f'key{i}' if kind == 'dict' else f'key {i}': item for i, item in enumerate(items)}


@pytest.mark.parametrize('seed', range(5))
def test_configs_are_formatted_without_a_change_of_meaning(seed, tmp_path):
    rng = random.Random(seed)
    values = {f'setting_{i}': random_value(rng, 4) for i in range(8)}
    values = {k: v for k, v in values.items() if 'inf' not in repr(v)}
    config = Config(values)
    config.dump(tmp_path / 'config.py')
    assert Config.fromfile(tmp_path / 'config.py').to_dict() == config.to_dict()
    text = config.pretty_text
    assert lay_out(text) == text
    for line in text.splitlines():
        if not {"'", '"'} & set(line) and line.endswith((',', ')', ']', '}')):
            assert len(line) <= 80, line


def test_a_config_has_one_item_per_line_where_it_does_not_fit():
    code = f'a = dict(b=[{", ".join(["100000"] * 12)}], c=dict(d=1))\n'
    items = '        100000,\n' * 12
    assert lay_out(code) == f'a = dict(\n    b=[\n{items}    ],\n    c=dict(d=1),\n)\n'
    assert lay_out('a = dict()\n') == 'a = dict()\n'
