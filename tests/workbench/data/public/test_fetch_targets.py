"""Fetched datasets are where the configs expect them."""

from pathlib import Path

import pytest
from helpers.fetch import Site, small_catalogue
from helpers.paths import ROOT
from mmengine.registry import DATASETS

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.checks.before_run import check_data
from mbv2_backbone.workbench.configs.read import datasets_of, load_config
from mbv2_backbone.workbench.configs.summary import summarise
from mbv2_backbone.workbench.data.public import fetch as fetch_module
from mbv2_backbone.workbench.data.public.fetch import fetch

CONFIGS = ROOT / 'configs'


@pytest.fixture(scope='module')
def site():
    site = Site()
    catalogue, contents = small_catalogue()
    site.catalogue = catalogue
    site.files = {f'/{name}': content for name, content in contents.items()}
    yield site
    site.close()


@pytest.mark.parametrize(
    ('config', 'names', 'lengths'),
    [
        ('ssdlite_mbv2_voc0712', ('voc2007', 'voc2012'), [2, 1, 1]),
        ('deeplabv3_mbv2_voc12aug', ('voc12aug',), [1, 2, 1]),
        ('ssdlite_mbv2_coco', ('coco2017',), [1, 1]),
        ('ssdlite_mbv2_bccd', ('bccd',), [1, 1]),
        ('deeplabv3_mbv2_camvid', ('camvid',), [1, 1]),
    ],
)
def test_a_config_finds_what_was_fetched(site, tmp_path, monkeypatch, config, names, lengths):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr(fetch_module, 'CATALOGUE', site.catalogue)
    monkeypatch.chdir(tmp_path)
    cfg = load_config(str(CONFIGS / f'{config}.py'))
    with pytest.raises(UserError) as caught:
        check_data(summarise(cfg), ('train', 'val'))
    for name in names:
        assert f'python tools/data.py fetch {name} (' in ' '.join(str(caught.value).split())
        fetch(name, 'data', mirror=site.url)
    check_data(summarise(cfg), ('train', 'val'))
    datasets = [DATASETS.build(dataset) for dataset in datasets_of(cfg, ('train', 'val'))]
    assert [len(dataset) for dataset in datasets] == lengths
    for dataset in datasets:
        for info in map(dataset.get_data_info, range(len(dataset))):
            assert Path(info['img_path']).is_file()
            assert info.get('instances') or Path(info['seg_map_path']).is_file()
