"""Predict on files: draw boxes or masks, and write one `predictions.json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...common.messages import UserError
from ...deploy.runtimes import is_exported
from ...weights.whole_model import find_checkpoint
from ..configs.read import load_config
from .coco_rows import RowFile
from .file_predictor import FilePredictor
from .inputs import Source, find_sources, image_ids
from .outputs import PredictionRun, Summary
from .video import check_can_write


def predict(
    config: str | Path,
    checkpoint: str | Path,
    inputs: str | Path | Sequence[str | Path],
    *,
    out: str | Path = 'predictions',
    score_thr: float = 0.3,
    batch_size: int | None = None,
    draw: bool = True,
    features: bool = False,
    reduced: bool = False,
    cfg_options: Sequence[str] | None = None,
) -> Summary:
    """Predict on images, folders, globs and videos.

    Writes to `out` the drawings (`<name>.jpg`, videos as `<name>.mp4`), for segmentation the
    label maps (`masks/<name>.png`), and `predictions.json`.

    Args:
        config: Path of the config.
        checkpoint: Path of the checkpoint, which must cover the whole model, or of an exported
            file; `best` or `last` of the config's work directory.
        inputs: Files, folders and glob patterns.
        out: Output folder.
        score_thr: Boxes below it are neither drawn nor written; in [0, 1].
        batch_size: Images per batch; by default 1 for segmentation alone, whose images differ in
            size, else 8.
        draw: Whether to write drawings.
        features: Whether to write `<name>.taps.png` and `<name>.classes.png`, which show what the
            backbone computes for each image.
        reduced: Decode large JPEG files at 1/2, 1/4 or 1/8 of their size, which is faster and
            changes boxes and scores a little; for boxes without drawings.
        cfg_options: `key=value` overrides of the config.

    Raises:
        UserError: If the config, the checkpoint or an input is invalid, no input can be read, or
            PyAV, which writes videos, is missing.
    """
    sources = find_sources(inputs)
    if features:
        _check_features(checkpoint, sources)
    if draw and any(source.is_video for source in sources):
        check_can_write()
    cfg = load_config(config, cfg_options)
    checkpoint = find_checkpoint(checkpoint, cfg.work_dir)
    predictor = FilePredictor(cfg, checkpoint, score_thr=score_thr)
    if reduced and (predictor.task != 'det' or predictor.input_wh is None or draw or features):
        raise UserError(
            '--reduced is for boxes that are not drawn: leave it out, or give --no-draw and a '
            'detector whose test pipeline resizes to one size'
        )
    Path(out).mkdir(parents=True, exist_ok=True)
    stills = [source for source in sources if not source.is_video]
    ids = image_ids(stills)
    next_id = max(ids.values(), default=-1) + 1
    inspector = None
    if features:
        from .features.inspector import FeatureInspector

        inspector = FeatureInspector(cfg, checkpoint, score_thr=score_thr)
    with RowFile(Path(out, 'predictions.json')) as rows:
        run = PredictionRun(
            predictor=predictor,
            out=Path(out),
            rows=rows,
            batch_size=batch_size or (1 if predictor.task == 'seg' else 8),
            draw=draw,
            inspector=inspector,
            reduced=reduced,
        )
        run.predict_stills(stills, ids)
        for source in sources:
            if source.is_video:
                next_id += run.predict_video(source, next_id)
        return run.finish()


def _check_features(checkpoint: str, sources: Sequence[Source]) -> None:
    if is_exported(checkpoint):
        raise UserError(
            f'--features looks into the network, which an exported file hides: give the '
            f'checkpoint (.pth) that {checkpoint} was exported from'
        )
    videos = [source.path for source in sources if source.is_video]
    if videos:
        raise UserError(f'--features works on images only; remove the video {videos[0]}')
