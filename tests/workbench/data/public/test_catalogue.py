"""The dataset catalogue is consistent."""

import importlib
import re
import sys

from helpers.paths import ROOT

from mbv2_backbone.workbench.data.public.catalogue import CATALOGUE

TOOLS = ROOT / 'tools'


def test_the_catalogue_is_well_formed():
    archives = {archive.name: archive for group in CATALOGUE.values() for archive in group}
    assert {id(a) for a in archives.values()} == {id(a) for g in CATALOGUE.values() for a in g}
    for name, archive in archives.items():
        assert re.fullmatch(r'([0-9a-f]{64})?', archive.sha256)
        assert len(set(archive.addresses)) == len(archive.addresses) >= 1
        for address in archive.addresses:
            assert address.startswith(('http://', 'https://'))
            assert '//' not in address.partition('://')[2]
        if archive.sha256:
            assert all(address.endswith(f'/{name}') for address in archive.addresses)
        else:  # of a commit, which cannot change
            commit = re.fullmatch(r'.*-([0-9a-f]{40})\.zip', name)[1]
            assert archive.addresses[0].endswith(f'/archive/{commit}.zip')
        assert archive.lists or archive.counts
        assert archive.sha256 or archive.content_sha256 or archive.counts
        assert bool(archive.lists) == bool(archive.files)
        assert all('{}' in template for template in archive.files)
        assert 10**6 < archive.size < 10**11
        assert 10**6 < archive.unpacked < 10**11
    assert all(len({archive.folder for archive in group}) == 1 for group in CATALOGUE.values())
    sizes = {name: sum(a.size for a in group) for name, group in CATALOGUE.items()}
    assert sizes['bccd'] < sizes['camvid'] < sizes['voc2007'] < sizes['voc2012']
    assert sizes['voc12aug'] - sizes['voc2012'] == archives['benchmark.tgz'].size


def test_the_lists_of_sbd_add_up():
    lists = {path: n for g in CATALOGUE.values() for a in g for path, n in a.lists.items()}
    train, aug, both = (
        lists[f'ImageSets/Segmentation/{name}.txt'] for name in ('train', 'aug', 'trainaug')
    )
    assert train + aug == both


def test_the_tool_knows_the_names_of_the_catalogue(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.delitem(sys.modules, 'data', raising=False)
    assert tuple(CATALOGUE) == importlib.import_module('data').DATASETS
    sys.modules.pop('data')
