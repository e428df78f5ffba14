"""A web server that misbehaves on demand, and small versions of the catalogue's archives."""

import dataclasses
import hashlib
import http.server
import io
import itertools
import json
import socket
import struct
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from PIL import Image
from scipy.io import savemat

from mbv2_backbone.common import downloads
from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.data.public import fetch as fetch_module
from mbv2_backbone.workbench.data.public.catalogue import CATALOGUE
from mbv2_backbone.workbench.data.public.fetch import fetch

VOID = 255


class Site:
    """A server of `files` by path.

    Attributes:
        ranges: Whether parts of files can be requested.
        says_length: Whether it sends a length.
        drops: For each of the next requests, the bytes sent before the connection drops.
        resets: Whether it drops connections with a reset.
        requests: Path and `Range` header of each request.
    """

    def __init__(self):
        self.files, self.drops, self.requests = {}, [], []
        self.ranges, self.says_length, self.resets = True, True, False
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                begin = self.headers['Range']
                site.requests.append((self.path, begin))
                content = site.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                size = len(content)
                begin = int(begin.removeprefix('bytes=')[:-1]) if begin and site.ranges else 0
                if begin and begin >= size:
                    self.send_response(416)
                    self.send_header('Content-Range', f'bytes */{size}')
                    self.end_headers()
                    return
                self.send_response(206 if begin else 200)
                if site.says_length:
                    self.send_header('Content-Length', str(size - begin))
                self.end_headers()
                if site.drops:
                    self.wfile.write(content[begin : begin + site.drops.pop(0)])
                    if site.resets:
                        linger = struct.pack('ii', 1, 0)
                        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.connection.close()
                    return
                self.wfile.write(content[begin:])

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.server.handle_error = lambda *args: None
        self.url = f'http://127.0.0.1:{self.server.server_port}'
        threading.Thread(target=self.server.serve_forever, args=[0.02], daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@cache
def small_catalogue():
    """Return the catalogue with small archives in the layout of the real ones.

    Returns:
        The catalogue, and the archives by their names.
    """
    contents = {
        'VOCtrainval_06-Nov-2007.tar': _tar(_voc(2007, {'Main/trainval': ['000005', '000007']})),
        'VOCtest_06-Nov-2007.tar': _tar(_voc(2007, {'Main/test': ['000001']})),
        'VOCtrainval_11-May-2012.tar': _tar(_voc2012()),
        'benchmark.tgz': _tar(_sbd(), 'w:gz'),
        'annotations_trainval2017.zip': _zip(
            {f'annotations/instances_{split}2017.json': _coco() for split in ('train', 'val')}
        ),
        'val2017.zip': _zip({'val2017/000000000001.jpg': _image('JPEG')}),
        'train2017.zip': _zip({'train2017/000000000001.jpg': _image('JPEG')}),
    }
    (bccd,), (camvid,) = CATALOGUE['bccd'], CATALOGUE['camvid']
    contents[bccd.name] = _zip(_in_folder(bccd.name.removesuffix('.zip'), _bccd()))
    contents[camvid.name] = _zip(_in_folder(camvid.name.removesuffix('.zip'), _camvid()))
    catalogue = {
        name: tuple(_shrink(archive, contents[archive.name]) for archive in archives)
        for name, archives in CATALOGUE.items()
    }
    return catalogue, contents


def _shrink(archive, content):
    return dataclasses.replace(
        archive,
        size=len(content),
        unpacked=len(content),
        sha256=archive.sha256 and hashlib.sha256(content).hexdigest(),
        lists=dict.fromkeys(archive.lists, 1),
        counts={k: 2 if 'instances_*' in k else 1 for k in archive.counts},
        content_sha256='',
    )


def _in_folder(folder, files):
    return {f'{folder}/{path}': content for path, content in files.items()}


def _zip(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return buffer.getvalue()


def _tar(files, mode='w'):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for path, content in files.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _image(kind, values=None):
    if values is None:
        values = np.random.default_rng(0).integers(256, size=(40, 48, 3), dtype=np.uint8)
    image = Image.fromarray(values)
    if values.ndim == 2:
        image.putpalette(np.repeat(np.arange(256), 3).tolist())
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def _xml(label='dog'):
    box = '<xmin>3</xmin><ymin>4</ymin><xmax>33</xmax><ymax>35</ymax>'
    return (
        '<annotation><size><width>48</width><height>40</height><depth>3</depth></size>'
        f'<object><name>{label}</name><bndbox>{box}</bndbox></object></annotation>'
    ).encode()


def _lines(names):
    return ''.join(f'{name}\n' for name in names).encode()


def _voc(year, lists, more_images=()):
    files = {f'ImageSets/{path}.txt': _lines(names) for path, names in lists.items()}
    for name in {*more_images, *itertools.chain(*lists.values())}:
        files[f'JPEGImages/{name}.jpg'] = _image('JPEG')
        files[f'Annotations/{name}.xml'] = _xml()
    return _in_folder(f'VOCdevkit/VOC{year}', files)


def voc_mask(value):
    """Return a mask as VOC has it: one class, and void."""
    mask = np.full((40, 48), value, np.uint8)
    mask[:2] = VOID
    return mask


def sbd_mask(name):
    """Return a mask as SBD has it: a class that follows from the name, and background."""
    mask = np.zeros((40, 48), np.uint8)
    mask[5:, 5:] = int(name[-2:])
    return mask


TRAIN, VAL, AUG = '2007_000001', '2007_000002', ('2008_000003', '2008_000004')


def _voc2012():
    lists = {
        'Main/trainval': ['2008_000008'], 'Segmentation/train': [TRAIN], 'Segmentation/val': [VAL],
    }  # fmt: skip
    files = _voc(2012, lists, more_images=AUG)
    masks = {
        f'SegmentationClass/{name}.png': _image('PNG', voc_mask(value))
        for name, value in {TRAIN: 15, VAL: 7}.items()
    }
    return files | _in_folder('VOCdevkit/VOC2012', masks)


def _sbd():
    files = {'train.txt': _lines([TRAIN, AUG[1]]), 'val.txt': _lines([AUG[0], VAL])}
    for name in (TRAIN, VAL, *AUG):
        buffer = io.BytesIO()
        savemat(buffer, {'GTcls': {'Segmentation': sbd_mask(name), 'CategoriesPresent': [1]}})
        files[f'cls/{name}.mat'] = buffer.getvalue()
    return _in_folder('benchmark_RELEASE/dataset', files)


def _coco():
    info = {'id': 1, 'file_name': '000000000001.jpg', 'height': 40, 'width': 48}
    box = {'id': 1, 'image_id': 1, 'category_id': 1, 'bbox': [3, 4, 30, 30], 'area': 900}
    names = CocoDataset.METAINFO['classes']
    categories = [{'id': i, 'name': name} for i, name in enumerate(names, 1)]
    return json.dumps(
        {'images': [info], 'annotations': [box | {'iscrowd': 0}], 'categories': categories}
    ).encode()


def _bccd():
    files = {}
    for name, split in {'BloodImage_00000': 'val', 'BloodImage_00001': 'train'}.items():
        files[f'ImageSets/Main/{split}.txt'] = _lines([name])
        files[f'JPEGImages/{name}.jpg'] = _image('JPEG')
        files[f'Annotations/{name}.xml'] = _xml('RBC')
    return _in_folder('BCCD', files) | {'README.md': b'BCCD'}


def _camvid():
    files = {}
    for split in ('train', 'val', 'test'):
        files[f'{split}/{split}_1.png'] = _image('PNG')
        labels = np.arange(40 * 48).reshape(40, 48) % 12
        files[f'{split}annot/{split}_1.png'] = _image('PNG', labels.astype(np.uint8))
    return _in_folder('CamVid', files)


@contextmanager
def small_site(monkeypatch):
    """Serve the small archives, and make theirs the only catalogue that `fetch` knows."""
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr(downloads, 'PAUSE_SECONDS', 0.01)
    catalogue, contents = small_catalogue()
    monkeypatch.setattr(fetch_module, 'CATALOGUE', dict(catalogue))
    site = Site()
    site.files = {f'/{name}': content for name, content in contents.items()}
    yield site
    site.close()


def change(name, **fields):
    fetch_module.CATALOGUE[name] = tuple(
        dataclasses.replace(archive, **fields) for archive in fetch_module.CATALOGUE[name]
    )


def files_in(folder):
    files = (p for p in folder.rglob('*') if p.is_file() and p.suffix != '.lock')
    return {str(p.relative_to(folder)) for p in files}


def refused(message, name, out, site, **options):
    with pytest.raises(UserError, match=message) as caught:
        fetch(name, out, mirror=site.url, **options)
    return str(caught.value)
