"""Colours of classes."""

from mmengine.registry import DATASETS, init_default_scope
from mmseg.datasets import PascalVOCDataset

from mbv2_backbone.workbench.configs.palettes import class_palette, file_palette


def test_selected_classes_keep_their_colours():
    init_default_scope('mmseg')
    voc = PascalVOCDataset.METAINFO
    picked = dict(type='PascalVOCDataset', metainfo=dict(classes=('dog', 'background')))
    places = [voc['classes'].index(name) for name in ('dog', 'background')]
    assert class_palette(picked) == [voc['palette'][i] for i in places]
    assert file_palette(picked) == voc['palette']
    assert class_palette(dict(type='PascalVOCDataset')) == voc['palette']
    own = dict(type='BaseSegDataset', metainfo=dict(classes=('a', 'b')), lazy_init=True)
    assert class_palette(own) == DATASETS.build(own).metainfo['palette']
