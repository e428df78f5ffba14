"""Plots of few and of many classes."""

import numpy as np
import pytest

from mbv2_backbone.workbench.report.plots import draw_confusion, draw_precision


@pytest.mark.parametrize('num_classes', [1, 6, 7, 120])
def test_plots_of_few_and_of_many_classes(num_classes):
    names = [f'class_{i} $x^2$' for i in range(num_classes)]
    curves = dict(
        recall=np.linspace(0, 1, 101).tolist(),
        precision={name: np.linspace(1, i / num_classes, 101) for i, name in enumerate(names)},
    )
    axis = draw_precision(curves).axes[0]
    mean = ['mean over classes'] if num_classes > 1 else []
    named = [name.replace('$', r'\$') for name in names[:6]]
    assert axis.get_legend_handles_labels()[1] == [*mean, *named]
    assert len(axis.lines) == num_classes + len(mean)
    counts = np.diag(np.arange(num_classes))
    assert draw_confusion(names, counts).axes[0].get_images()[0].get_array().max() <= 1
