"""Run a tool and write how the processor time of its process splits into stages.

Run as a script: OUT, the tool, its arguments. Also other checkouts' tools run under it.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import json
import os
import runpy
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The older layout of this package (fb34dea) is there too, for measuring what has changed since.
# Stage, then what belongs to it: `module:name` or `module:Class.method`. What a checkout does not
# have is left out. A call counts for the innermost stage.
_RUNNER = 'mmengine.runner:Runner.'
_HOOKS = ('mbv2_backbone.workbench.report.hook', 'mbv2_backbone.report.hook')
STAGES = {
    'config and checks': (
        'mbv2_backbone.workbench.run:load_config',
        'mbv2_backbone.workbench.run:check_before_run',
        'mbv2_backbone.workbench.run:apply_steps',
        'mbv2_backbone.workbench.checks.broken_images:BrokenImagesHook.before_test',
        'mbv2_backbone.workbench.predict.predict:load_config',
        'mbv2_backbone.engine.run:load_config',
    ),
    'model and weights': (
        f'{_RUNNER}build_model',
        f'{_RUNNER}load_checkpoint',
        'mbv2_backbone.workbench.run:read_weights',
        'mbv2_backbone.workbench.run:check_covers',
        'mbv2_backbone.workbench.predict.fast_test:folded_for',
        'mbv2_backbone.workbench.predict.file_predictor:build_model',
        'mbv2_backbone.workbench.predict.file_predictor:folded_for',
    ),
    'annotations and loader': (f'{_RUNNER}build_test_loop',),
    'decoding': (
        'cv2:imdecode',
        'mbv2_backbone.workbench.predict.outputs:read_image',
        'mbv2_backbone.workbench.predict.outputs:read_reduced',
    ),
    'rest of the pipeline': ('mmengine.dataset:Compose.__call__',),
    'batching': (
        'mmengine.model.base_model.data_preprocessor:BaseDataPreprocessor.cast_data',
        'mmengine.model.base_model.data_preprocessor:ImgDataPreprocessor.forward',
        'mmdet.models.data_preprocessors:DetDataPreprocessor.forward',
        'mmseg.models:SegDataPreProcessor.forward',
    ),
    'network': ('mmengine.model:BaseModel.test_step',),
    'suppression': ('mbv2_backbone.det.head:SSDLiteHead.predict_by_feat',),
    'masks': ('mmseg.models:BaseSegmentor.postprocess_result',),
    'metric': ('mmengine.evaluator:Evaluator.process', 'mmengine.evaluator:Evaluator.evaluate'),
    'report': tuple(
        f'{hook}:ReportHook.{name}'
        for hook in _HOOKS
        for name in ('before_test_epoch', 'after_test_iter', 'after_test_epoch')
    ),
    'drawing and writing': ('mbv2_backbone.workbench.predict.outputs:PredictionRun._write',),
}


class Stages:
    """Processor time by stage; in each thread the innermost stage gets it."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._of_thread = threading.local()
        self._lock = threading.Lock()

    def within(self, stage: str, function: Callable) -> Callable:
        """Return the function, its time counted for a stage."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            outer = getattr(self._of_thread, 'stage', 'rest')
            self._enter(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self._enter(outer)

        return call

    def _enter(self, stage: str) -> None:
        now, mine = time.thread_time(), vars(self._of_thread)
        with self._lock:
            self.seconds[mine.get('stage', 'rest')] += now - mine.get('since', 0.0)
        mine.update(stage=stage, since=now)

    def watch(self, stage: str, place: str) -> None:
        """Count the calls of a function or a method for a stage, if it is there."""
        module, _, path = place.partition(':')
        *owners, name = path.split('.')
        try:
            owner = functools.reduce(getattr, owners, importlib.import_module(module))
            function = getattr(owner, name)
        except (ImportError, AttributeError):
            return
        setattr(owner, name, self.within(stage, function))


def run(out: str, tool: str, args: list[str]) -> None:
    """Run a tool in this process; write seconds by stage to a JSON file."""
    stages = Stages()
    importer = builtins.__import__
    stages._enter('imports')  # Python's start belongs to them
    sys.argv[:] = [tool, *args]
    sys.path[0] = str(Path(tool).parent)
    os.environ.setdefault('MBV2_BACKBONE_FAST_START', '1')  # as the tools do
    for stage, places in STAGES.items():
        for place in places:
            stages.watch(stage, place)
    builtins.__import__ = stages.within('imports', importer)
    importlib.import_module = stages.within('imports', importlib.import_module)
    stages._enter('rest')
    try:
        runpy.run_path(tool, run_name='__main__')
    finally:
        stages._enter('rest')
        spent = dict(stages.seconds)
        # Loader processes and threads of OpenMP, whose time no stage has.
        spent['other threads'] = time.process_time() - sum(spent.values())
        Path(out).write_text(json.dumps(spent), encoding='utf-8')


if __name__ == '__main__':
    run(sys.argv[1], sys.argv[2], sys.argv[3:])
