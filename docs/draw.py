#!/usr/bin/env python
"""Draw the figures of the documentation and write the tables that are computed from the code.

    python docs/draw.py            figures into docs/pictures, tables into docs/*.md
    python docs/draw.py --out DIR  figures into DIR, no tables

Run it again when the taps, the heads, the configs or the modules change; a test fails until you do.
"""

from __future__ import annotations

import argparse
import ast
import functools
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

mpl.use('agg')
from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'tools')]

from measure.markdown import markdown_table, put_between  # noqa: E402
from measure.structure import arrows, python_files, room_of  # noqa: E402

from mbv2_backbone.arch import (  # noqa: E402
    INDEX_TO_TAP,
    OUTPUT_STRIDES,
    TAP_NAMES,
    build_architecture,
    resolve_taps,
)

PACKAGE = ROOT / 'mbv2_backbone'
_EMPTY = ('/__main__.py', 'workbench/__init__.py')  # rooms without anything to import
USERS = {
    'DeepLabV3': 'deeplabv3_mbv2_voc12aug.py',
    'DeepLabV3+': 'deeplabv3plus_mbv2_voc12aug.py',
    'SSDLite, the paper': 'ssdlite_mbv2_coco.py',
    "SSDLite, mmdet's taps": 'ssdlite_mbv2_coco_mmdet-taps.py',
    'SSDLite and DeepLabV3 at once': 'ssdlite-deeplabv3_mbv2_sample.py',
}
"""Rows of the figure of taps: heads, and the config that says where they attach."""

DEEPLABV3 = 'deeplabv3_mbv2_voc12aug.py'
SSDLITE_20 = 'ssdlite_mbv2_voc0712.py'


def _joint(output_stride: int) -> dict:
    """Return the settings that add DeepLabV3 to an SSDLite."""
    taps = ('layer6.expand', 'layer7', 'conv2')
    return dict(
        type='JointModel',
        det_indices=(0, 2),
        decode_head=dict(type='mmseg.DeepLabV3Head', in_index=1, output_stride=output_stride),
        backbone=dict(out_indices=taps, output_stride=output_stride),
    )


HEADS = (
    ('the classifier of the paper, 1,000 classes', 'mobilenetv2_in1k.py', {}),
    ('SSDLite, 80 classes', 'ssdlite_mbv2_coco.py', {}),
    ('SSDLite, plus recipe, 80 classes', 'ssdlite_mbv2_coco_plus.py', {}),
    ("DeepLabV3, the paper's mobile head (no ASPP), 21 classes", DEEPLABV3, {}),
    ('DeepLabV3 with ASPP (6, 12, 18)', 'deeplabv3-aspp_mbv2_voc12aug.py', {}),
    (
        'DeepLabV3 with ASPP, depthwise separable',
        'deeplabv3-aspp_mbv2_voc12aug.py',
        dict(decode_head=dict(separable=True)),
    ),
    ('DeepLabV3+, separable ASPP, decoder at stride 4', 'deeplabv3plus_mbv2_voc12aug.py', {}),
    (
        'LR-ASPP (`MobileLRASPPHead`)',
        DEEPLABV3,
        dict(
            backbone=dict(out_indices=('layer3', 'layer7')),
            decode_head=dict(_delete_=True, type='MobileLRASPPHead'),
        ),
    ),
    ("mmseg's own MobileNetV2-DeepLabV3", None, {}),
    ('SSDLite, 20 classes', SSDLITE_20, {}),
    ('SSDLite, 20 classes, and DeepLabV3, 21 classes, output stride 32', SSDLITE_20, _joint(32)),
    ('SSDLite, 20 classes, and DeepLabV3, 21 classes, output stride 16', SSDLITE_20, _joint(16)),
)
"""Rows of the table of heads: name, config (None: mmseg's) and what is changed in its model."""

BLUE, ORANGE, GREY = '#2b6cb0', '#dd6b20', '#cbd5e0'


def taps_table() -> str:
    """Return Markdown: every tap with its channels and its stride at each output stride."""
    header = ['tap', "mmdet's index", 'channels at width 1']
    header += [f'stride at output stride {stride}' for stride in reversed(OUTPUT_STRIDES)]
    architectures = [build_architecture(output_stride=s) for s in reversed(OUTPUT_STRIDES)]
    rows = []
    for name in TAP_NAMES:
        index = str(INDEX_TO_TAP.index(name)) if name in INDEX_TO_TAP else ''
        strides = [str(a.taps[name].stride) for a in architectures]
        rows.append([f'`{name}`', index, str(architectures[0].taps[name].channels), *strides])
    return markdown_table(header, rows)


def heads_table() -> str:
    """Return Markdown: parameters and multiply-adds of each head, backbone included."""
    from measure.speed.complexity import count_model
    from measure.speed.models import build_random
    from measure.speed.peers import peer_config

    import mbv2_backbone.joint  # noqa: F401
    from mbv2_backbone.workbench.configs.read import load_config

    rows = []
    for name, config, changes in HEADS:
        cfg = load_config(str(ROOT / 'configs' / (config or DEEPLABV3)))
        sides = dict(deeplabv3=513, mobilenetv2=224)
        side = next((sides[n] for n in sides if n in (config or DEEPLABV3)), 320)
        cfg.merge_from_dict(dict(model=changes))
        model = (
            build_random(cfg)
            if config
            else build_random(peer_config('mmseg', cfg, (side, side)), 'mmseg')
        )
        counts = count_model(model, (side, side))
        params, madds = counts['params'] / 1e6, counts['madds'] / 1e9
        rows.append([name, f'{params:.2f} M', f'{madds:.2f} B', str(side)])
    return markdown_table(('model', 'parameters', 'multiply-adds', 'at'), rows)


@functools.cache
def taps_of_heads() -> dict[str, tuple[str, ...]]:
    """Return which taps each head reads, from the configs; and those of the default backbone."""
    from mbv2_backbone import MobileNetV2Backbone
    from mbv2_backbone.workbench.configs.read import load_config

    heads = {}
    for head, config in USERS.items():
        backbone = load_config(str(ROOT / 'configs' / config)).model.backbone
        heads[head] = resolve_taps(backbone.out_indices)
    default = inspect.signature(MobileNetV2Backbone).parameters['out_indices'].default
    return {'FPN and the like (default)': resolve_taps(default), **heads}


def draw_taps(path: Path) -> None:
    """Draw the feature maps along the network, and the heads that read them."""
    taps = build_architecture().taps
    heads = taps_of_heads()
    figure, (top, grid) = plt.subplots(
        2, 1, figsize=(11, 6.4), sharex=True, height_ratios=(1.1, 1), layout='constrained'
    )
    for x, info in enumerate(taps.values()):
        side = 1 / info.stride
        is_expansion = info.name.endswith('.expand')
        top.bar(x, side, width=0.62, color=GREY if is_expansion else BLUE)
        top.text(x, side * 1.08, str(info.channels), ha='center', va='bottom', fontsize=10)
    top.set_yscale('log', base=2)
    top.set_ylim(1 / 64, 0.9)
    top.set_yticks([1 / s for s in (2, 4, 8, 16, 32)], ['1/2', '1/4', '1/8', '1/16', '1/32'])
    top.set_ylabel('side, as a share of the image')
    top.set_title(
        'Feature maps of MobileNetV2Backbone at width 1 and output stride 32: bars with the '
        'number of channels\nblue: outputs of the layers; grey: expansions inside their first '
        'block. Below: what each head reads',
        fontsize=11,
        loc='left',
    )
    for y, names in enumerate(heads.values()):
        grid.axhline(y, color=GREY, linewidth=1, zorder=0)
        grid.scatter([TAP_NAMES.index(n) for n in names], [y] * len(names), s=110, color=ORANGE)
    grid.set_yticks(range(len(heads)), heads)
    grid.set_ylim(len(heads) - 0.5, -0.5)
    grid.set_xticks(range(len(taps)), taps, rotation=45, ha='right')
    _save(figure, path)


@dataclass(frozen=True)
class Room:
    """A file at the root of the package, or a folder there or in the workbench.

    Attributes:
        what: First line of its docstring.
        imports: Names of the other rooms that its files import, now or when they are called.
    """

    what: str
    imports: frozenset[str]


def read_rooms() -> dict[str, Room]:
    """Return every room by its path in the package, each after the rooms that it imports."""
    imports: dict[str, set[str]] = {}
    for path in python_files(ROOT):
        if path.startswith(f'{PACKAGE.name}/') and not path.endswith(_EMPTY):
            imports.setdefault(room_of(path), set())
    for arrow in arrows(ROOT):
        source, target = room_of(arrow.source), room_of(arrow.target)
        if {source, target} <= imports.keys() and source != target:
            imports[source].add(target)
    order: list[str] = []
    while len(order) < len(imports):
        order.append(
            min(
                room for room in imports if imports[room] <= {*order} - {room} and room not in order
            )
        )
    return {
        _inside(room): Room(_first_line(ROOT / room), frozenset(map(_inside, imports[room])))
        for room in order
    }


def _inside(room: str) -> str:
    """Return the path of a room in the package; folders end in a slash."""
    return room.removeprefix(f'{PACKAGE.name}/') + ('' if room.endswith('.py') else '/')


def _first_line(path: Path) -> str:
    file = path if path.is_file() else path / '__init__.py'
    text = ast.get_docstring(ast.parse(file.read_text(encoding='utf-8'))) or ''
    return text.partition('\n')[0]


def modules_table() -> str:
    """Return Markdown: every room and what it is for."""
    rows = [[f'`{name}`', room.what] for name, room in read_rooms().items()]
    return markdown_table(('room', 'what'), rows)


def draw_modules(path: Path) -> None:
    """Draw which room imports which."""
    rooms = read_rooms()
    names = list(rooms)
    size = 0.3 * len(names)
    figure, axes = plt.subplots(figsize=(size + 2.6, size + 2.4), layout='constrained')
    for y, room in enumerate(rooms.values()):
        xs = [names.index(name) for name in room.imports]
        axes.scatter(xs, [y] * len(xs), s=62, marker='s', color=BLUE)
    axes.plot([-0.5, len(names) - 0.5], [-0.5, len(names) - 0.5], color=GREY, zorder=0)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(color='#edf2f7', zorder=-1)
    axes.set_axisbelow(True)
    axes.set_aspect('equal')
    axes.set_title(
        'Each row imports the marked columns.\n'
        'Every mark is left of the line: nothing imports upward.',
        fontsize=10,
        loc='left',
    )
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={'Software': None})
    plt.close(figure)
    print(f'wrote {path}')


def main() -> None:
    """Draw the figures; write the tables too unless the figures go elsewhere."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, help='folder for the figures')
    args = parser.parse_args()
    folder = args.out or ROOT / 'docs' / 'pictures'
    draw_modules(folder / 'modules.png')
    draw_taps(folder / 'taps.png')
    if args.out is None:
        put_between(str(ROOT / 'docs' / 'backbone.md'), 'taps', taps_table())
        put_between(str(ROOT / 'docs' / 'heads.md'), 'heads', heads_table())
        put_between(str(ROOT / 'docs' / 'architecture.md'), 'modules', modules_table())


if __name__ == '__main__':
    main()
