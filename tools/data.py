#!/usr/bin/env python
"""Generate, download, check, convert and show datasets.

Examples:
    python tools/data.py sample
    python tools/data.py sample --out data/sample_256 --size 256 --num-train 2000
    python tools/data.py fetch bccd
    python tools/data.py check data/BCCD
    python tools/data.py check data/sample/sample_crops
    python tools/data.py convert data/mine_yolo data/mine --to coco
    python tools/data.py convert data/BCCD data/BCCD_crops --to folders
    python tools/data.py show data/mine --num 9
    python tools/data.py show configs/ssdlite_mbv2_sample.py --out sheet.png
    python tools/data.py unpack VOCtrainval_06-Nov-2007.tar --out data
"""

from __future__ import annotations

import argparse
import os
import sys

from common import run

SAMPLE_FOLDERS = {
    'images': 'JPEGImages',
    'COCO boxes and polygons': 'annotations',
    'VOC boxes': 'Annotations',
    'VOC masks': 'SegmentationClass',
    'VOC lists': 'ImageSets',
    'objects by class': 'sample_crops',
}
DATASETS = ('voc2007', 'voc2012', 'voc12aug', 'coco2017', 'bccd', 'camvid')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(metavar='COMMAND', required=True)
    sample = commands.add_parser(
        'sample',
        help='generate the sample dataset, in COCO and VOC format',
        description='Generate the sample dataset, in COCO and in VOC format with masks.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    sample.add_argument('--out', default='data/sample', help='folder to write')
    sample.add_argument('--num-train', type=int, default=600, help='number of training images')
    sample.add_argument('--num-val', type=int, default=100, help='number of held-out images')
    sample.add_argument('--size', type=int, default=192, help='height and width in pixels')
    sample.add_argument('--seed', type=int, default=0, help='the same seed gives the same dataset')
    sample.add_argument(
        '--force',
        action='store_true',
        help='generate it again and replace an existing sample dataset',
    )
    sample.set_defaults(command=draw_sample)
    unpack = commands.add_parser(
        'unpack',
        help='unpack a zip or tar archive, safely',
        description='Unpack a zip or tar archive; nothing is written outside the folder.',
    )
    unpack.add_argument('archive', help='the file')
    unpack.add_argument('--out', required=True, help='folder to write')
    unpack.add_argument('--sha256', help='SHA-256 that its publisher states')
    unpack.set_defaults(command=unpack_archive)
    add_fetch(commands)
    add_check(commands)
    add_convert(commands)
    add_show(commands)
    return parser.parse_args()


def add_fetch(commands: argparse._SubParsersAction) -> None:
    fetch = commands.add_parser(
        'fetch',
        help='download a public dataset to where the configs expect it',
        description='Download a public dataset, check it and put it where the configs expect it. '
        'Files that you have put into OUT/archives are used without a download.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    # Not read from the catalogue: importing the package takes seconds.
    fetch.add_argument('name', choices=DATASETS, help='the dataset')
    fetch.add_argument('--out', default='data', help='folder of all datasets')
    fetch.add_argument(
        '--keep-archives', action='store_true', help='keep what was downloaded in OUT/archives'
    )
    fetch.add_argument(
        '--mirror',
        default='',
        metavar='URL',
        help='URL of a mirror that has the archives by name, instead of the published addresses',
    )
    fetch.set_defaults(command=fetch_data)


def add_check(commands: argparse._SubParsersAction) -> None:
    check = commands.add_parser(
        'check',
        help='summarise a dataset and find what would prevent training',
        description='Count images, boxes and sizes of a dataset, and find what would prevent '
        'training; then the exit code is 1.',
    )
    check.add_argument('source', metavar='FOLDER_OR_CONFIG', help='dataset folder or model config')
    check.add_argument(
        '--task',
        choices=('det', 'seg', 'both', 'cls'),
        help='what to check in a folder: boxes (det), masks (seg), both, or images sorted by class '
        '(cls) (default: whatever there is)',
    )
    check.add_argument(
        '--layout',
        choices=('coco', 'voc', 'yolo', 'labelme', 'masks'),
        help='format to check, if a folder has several (default: the one that suits the task)',
    )
    check.add_argument('--json', metavar='FILE', help='write the findings into this file, too')
    check.set_defaults(command=check_data)


def add_convert(commands: argparse._SubParsersAction) -> None:
    formats = ('coco', 'voc', 'yolo', 'labelme')
    convert = commands.add_parser(
        'convert',
        help='convert a dataset with boxes or outlines to another format',
        description='Convert a dataset with boxes or outlines to another format, or cut its '
        'objects out into folders by class. The input is not changed; what cannot be kept is '
        'named.',
    )
    convert.add_argument('source', metavar='IN', help='dataset folder')
    convert.add_argument('target', metavar='OUT', help='folder to write')
    convert.add_argument(
        '--to',
        required=True,
        choices=(*formats, 'folders'),
        help='format to write; folders: each object cut out, in SPLIT/CLASS, for a classifier',
    )
    convert.add_argument(
        '--from',
        dest='source_format',
        choices=formats,
        help='format to read (default: recognised)',
    )
    convert.add_argument(
        '--ignored-as-objects',
        action='store_true',
        help='make crowds (iscrowd) and difficult objects like others, for masks from CVAT',
    )
    convert.add_argument(
        '--copy', action='store_true', help='copy the images; by default they are hard links'
    )
    convert.add_argument('--force', action='store_true', help='replace OUT if it exists')
    convert.set_defaults(command=convert_dataset)


def add_show(commands: argparse._SubParsersAction) -> None:
    show = commands.add_parser(
        'show',
        help='draw images with their labels; those of a config before and after augmentation',
        description='Draw a contact sheet: of a folder its images with their labels, of a config '
        'its images before and after augmentation. A folder has no augmentation; '
        'tools/new_config.py writes a config for it.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    show.add_argument('source', metavar='FOLDER_OR_CONFIG', help='dataset folder or model config')
    show.add_argument('--split', default='train', help='split to draw images of')
    show.add_argument('--num', type=int, default=16, help='number of images')
    show.add_argument('--out', default='sheet.png', help='PNG file to write')
    show.add_argument('--seed', type=int, default=0, help='the same seed gives the same sheet')
    show.add_argument(
        '--cfg-options', nargs='+', metavar='KEY=VALUE', help='override settings of the config'
    )
    show.set_defaults(command=show_dataset)


def check_data(args: argparse.Namespace) -> None:
    import json

    from mbv2_backbone.common.files import write_atomically
    from mbv2_backbone.common.messages import UserError
    from mbv2_backbone.workbench import api

    report = api.check_data(args.source, task=args.task, layout=args.layout)
    print(report)
    if args.json:
        text = json.dumps(report.as_json(), indent=2, ensure_ascii=False)
        try:
            write_atomically(text.encode(), args.json)
        except OSError as error:
            raise UserError(f'cannot write {args.json}: {error}') from error
    if report.stops_training:
        sys.exit(1)


def unpack_archive(args: argparse.Namespace) -> None:
    from mbv2_backbone.workbench.data.public.archives import extract

    print(f'unpacked into {extract(args.archive, args.out, sha256=args.sha256)}')


def fetch_data(args: argparse.Namespace) -> None:
    from mbv2_backbone.common.messages import UserError
    from mbv2_backbone.workbench.api import fetch
    from mbv2_backbone.workbench.data.public.fetch import CATALOGUE

    try:
        was_missing = fetch(
            args.name, args.out, mirror=args.mirror, keep_archives=args.keep_archives
        )
    except OSError as error:
        raise UserError(f'cannot write {args.name} to {args.out}: {error}') from error
    except KeyboardInterrupt:
        print(f'\ninterrupted; fetch {args.name} again to resume', file=sys.stderr)
        sys.exit(130)
    folder = f'{args.out}/{CATALOGUE[args.name][0].folder}'
    print(f'{"fetched" if was_missing else "already there:"} {folder}')


def draw_sample(args: argparse.Namespace) -> None:
    from mbv2_backbone.common.messages import UserError
    from mbv2_backbone.workbench.api import generate_sample

    try:
        summary = generate_sample(
            args.out,
            num_train=args.num_train,
            num_val=args.num_val,
            size=args.size,
            seed=args.seed,
            force=args.force,
        )
    except OSError as error:
        raise UserError(f'cannot write the sample dataset to {args.out}: {error}') from error
    print(f'{"generated" if summary.is_new else "already there:"} {summary.root}')
    for content, folder in SAMPLE_FOLDERS.items():
        print(f'  {content:24} {summary.root / folder}')
    names = list(next(iter(summary.boxes.values())))
    print(f'{"":8}' + ''.join(f'{title:>10}' for title in ('images', 'empty', *names, 'boxes')))
    for split, boxes in summary.boxes.items():
        row = (summary.images[split], summary.empty[split], *boxes.values(), sum(boxes.values()))
        print(f'{split:8}' + ''.join(f'{number:>10}' for number in row))


def convert_dataset(args: argparse.Namespace) -> None:
    from mbv2_backbone.common.messages import UserError, first_lines
    from mbv2_backbone.workbench.api import convert

    try:
        done = convert(
            args.source,
            args.target,
            to=args.to,
            source_format=args.source_format,
            ignored_as_objects=args.ignored_as_objects,
            copy=args.copy,
            force=args.force,
        )
    except OSError as error:
        raise UserError(f'cannot write {args.target}: {error}') from error
    print(f'{done.source_format} to {args.to}: {args.target}')
    print(
        f'{"":8}' + ''.join(f'{title:>10}' for title in ('images', 'empty', 'ignored', 'objects'))
    )
    for split, counts in done.counts.items():
        print(f'{split:8}' + ''.join(f'{number:>10}' for number in counts))
    for title, lines in (('problems of the input', done.problems), ('notes', done.notes)):
        if lines:
            print('\n'.join([f'{title} ({len(lines)}):', *first_lines(lines, 50)]))
    empty = [split for split, (images, *_) in done.counts.items() if not images]
    if empty:
        raise UserError(f'no image of the split {", ".join(empty)} could be read')
    if not any(objects for *_, objects in done.counts.values()):
        raise UserError('no image has an object that could be read')


def show_dataset(args: argparse.Namespace) -> None:
    from mbv2_backbone.workbench.api import show

    sheet_hw = show(
        args.source,
        args.out,
        split=args.split,
        num=args.num,
        seed=args.seed,
        overrides=args.cfg_options,
    )
    print(f'wrote {args.out}, {sheet_hw[1]}x{sheet_hw[0]} pixels')
    if os.path.isdir(args.source):
        print('with their labels; `show CONFIG` draws them after augmentation')


if __name__ == '__main__':
    arguments = parse_args()
    run(arguments.command, arguments)
