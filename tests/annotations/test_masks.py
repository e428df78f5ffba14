"""Masks in every coding, against mmseg's own loader and slow loops."""

import numpy as np
import pytest
import torch
from helpers.mask import CODINGS, PALETTE, stock_labels, write_image, write_mask
from mmengine.structures import PixelData
from mmseg.models.decode_heads import FCNHead
from mmseg.models.segmentors import EncoderDecoder  # noqa: F401  (registers the preprocessor)
from mmseg.registry import MODELS, TRANSFORMS
from mmseg.structures import SegDataSample
from PIL import Image

from mbv2_backbone.annotations.masks import MaskCoding, decode_mask, map_colours, read_mask
from mbv2_backbone.common.messages import UserError
from mbv2_backbone.seg import datasets  # noqa: F401  (registers LoadLabelMap)
from mbv2_backbone.workbench.checks.mask_values import MaskRules, mask_problem, read_facts


@pytest.mark.parametrize('mode', ['L', 'P', '1', 'I;16'])
@pytest.mark.parametrize('coding', CODINGS)
def test_indices_are_read_as_by_mmseg(mode, coding, tmp_path, rng):
    for i in range(2):
        labels = rng.choice(np.array([0, 1, 2, 3, 4, 7, 254, 255], np.uint8), (9, 13))
        path = write_mask(tmp_path / f'{i}.png', labels, mode)
        pixels = read_mask(path, path)
        assert Image.open(path).mode == mode
        assert np.array_equal(decode_mask(pixels, coding, path), stock_labels(path, coding))


def test_the_transform_equals_mmsegs_on_a_palette_png_and_reads_more(tmp_path, rng):
    labels = rng.integers(0, 5, (2, 8, 6)).astype(np.uint8)
    load = TRANSFORMS.build(dict(type='LoadLabelMap', palette=PALETTE))
    for i in range(2):
        index = write_mask(tmp_path / f'{i}.png', labels[i], 'P')
        colour = tmp_path / f'{i}_rgb.png'
        Image.fromarray(np.array(PALETTE, np.uint8)[labels[i]]).save(colour)
        for coding in (CODINGS[0], CODINGS[2]):
            sample = dict(reduce_zero_label=False, label_map=coding.label_map)
            for path in (index, str(colour)):
                loaded = load(dict(sample, seg_map_path=path, seg_fields=[]))
                assert loaded['seg_fields'] == ['gt_seg_map']
                assert loaded['gt_seg_map'].dtype == np.uint8
                assert np.array_equal(loaded['gt_seg_map'], stock_labels(index, coding))
    assert load(dict(img=3)) == dict(img=3)


def test_colours_against_a_loop(rng):
    labels = {(1, 2, 3): 4, (3, 2, 1): 0, (0, 0, 0): 255, (255, 255, 255): 1}
    colours = rng.choice(np.array([*labels, (1, 2, 4), (2, 1, 3)], np.uint8), (11, 7))
    expected = [[labels.get(tuple(pixel), -1) for pixel in row] for row in colours.tolist()]
    assert np.array_equal(map_colours(colours, labels), expected)
    assert map_colours(colours[:0], labels).shape == (0, 7)


def test_ignored_and_unknown_colours_and_indices(tmp_path):
    row = np.array([[PALETTE[1], (224, 224, 192), (5, 6, 7), (5, 6, 7)]], np.uint8)
    with pytest.raises(UserError, match=r'x\.png has the colour \(5, 6, 7\) on 2 pixels'):
        decode_mask(row, MaskCoding(palette=PALETTE), 'x.png')
    for coding in (
        MaskCoding(palette=PALETTE, ignore=[(5, 6, 7)]),
        MaskCoding(palette=PALETTE, ignore_unknown=True),
    ):
        assert decode_mask(row, coding, 'x.png').tolist() == [[1, 255, 255, 255]]
    with pytest.raises(UserError, match='palette='):
        decode_mask(row, MaskCoding(), 'x.png')
    indices = np.array([[0, 1, 3]])
    coding = MaskCoding(ignore=[3, (5, 6, 7)], label_map={0: 2})
    assert decode_mask(indices, coding, 'x.png').tolist() == [[2, 1, 255]]
    with pytest.raises(UserError, match='values from 0 to 300'):
        decode_mask(indices * 100, MaskCoding(), 'x.png')


def test_lossy_translucent_and_unusual_files_are_refused(tmp_path):
    grey = Image.fromarray(np.zeros((4, 4), np.uint8))
    glass = grey.convert('RGBA')
    glass.putalpha(7)
    for name, image, match in [
        ('a.jpg', grey, 'is a JPEG'),
        ('b.png', grey.convert('LA'), 'mode LA'),
        ('c.png', glass, 'translucent'),
    ]:
        path = tmp_path / name
        image.save(path)
        with pytest.raises(UserError, match=match):
            read_mask(str(path), name)
        image_path = write_image(tmp_path / 'image.png', (4, 4))
        rules = MaskRules(2, MaskCoding(palette=PALETTE), reads_colours=True)
        assert match in str(mask_problem(read_facts(str(path), image_path), rules))
    grey.convert('RGBA').save(tmp_path / 'd.png')
    assert read_mask(str(tmp_path / 'd.png'), 'd').shape == (4, 4, 3)


def test_255_is_padding_and_does_not_count_in_the_loss():
    preprocessor = MODELS.build(dict(type='SegDataPreProcessor', size=(8, 8)))
    labels = torch.randint(0, 3, (2, 1, 5, 6))
    labels[:, :, 0] = 255
    samples = [SegDataSample(gt_sem_seg=PixelData(data=mask)) for mask in labels]
    for sample in samples:
        sample.set_metainfo(dict(img_shape=(5, 6)))
    batch = dict(inputs=[torch.zeros(3, 5, 6, dtype=torch.uint8)] * 2, data_samples=samples)
    samples = preprocessor(batch, training=True)['data_samples']
    masks = torch.stack([sample.gt_sem_seg.data for sample in samples])
    assert masks.shape == (2, 1, 8, 8)
    assert (masks[..., 5:, :] == 255).all()
    assert (masks[..., 6:] == 255).all()
    head = FCNHead(in_channels=4, channels=4, num_convs=0, concat_input=False, num_classes=3)
    logits = torch.randn(2, 3, 8, 8)
    other = torch.where(masks == 255, torch.randn_like(logits), logits)
    losses = [head.loss_by_feat(x, samples)['loss_ce'] for x in (logits, other)]
    assert torch.equal(*losses)
    assert losses[0] > 0
