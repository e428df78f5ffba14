"""What to say about a folder in which no dataset is found."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ...common.messages import first_lines
from .names import CLASS_FILES
from .tree import Tree

# One layout of each format; docs/data.md has all.
LAYOUTS = {
    'coco': """\
annotations/train.json   images, annotations and categories of the training images
annotations/val.json
images/a.jpg             or in images/train and images/val""",
    'voc': """\
JPEGImages/a.jpg         or images/a.jpg, or beside the XML files
Annotations/a.xml        or annotations/a.xml
ImageSets/Main/train.txt a list of names, and val.txt; may be missing""",
    'yolo': """\
images/train/a.jpg       or all beside each other in one folder
labels/train/a.txt       class number, x, y, width, height; and so for val
classes.txt              a class a line, or data.yaml or obj.names""",
    'labelme': """\
a.jpg                    in any folder, such as train and val
a.json                   with `shapes`, beside the image or in annotations/""",
    'masks': """\
images/a.jpg             or img_dir/train/a.jpg
masks/a.png              or ann_dir/train/a.png; pixels are class numbers
classes.txt              a class a line; may be missing""",
}
_SUFFIXES = {'.xml': 'voc', '.txt': 'yolo', '.json': 'labelme'}
_MAX_COCO = 3  # JSON files; more are one per image
# What tools keep for themselves: how the file is told, whose it is, what to export instead.
_OWN = (
    ('.xml', b'<meta>', "CVAT's own XML", 'export the task again, as COCO 1.0'),
    ('.json', b'"assets"', "VoTT's own JSON", 'export again, as Pascal VOC'),
    ('.json', b'"classTitle"', "Supervisely's own JSON", 'use its app Export to COCO'),
    ('.json', b'"rectanglelabels"', "Label Studio's own JSON", 'export again, as COCO'),
    ('.json', b'"shape_attributes"', "VIA's own JSON", 'export annotations as COCO'),
    ('.json', b'"dm_format_version"', "Datumaro's own JSON", 'datum convert -f coco_instances'),
    ('.json', b'"coordinates"', "CreateML's JSON", 'save as PascalVOC or YOLO in LabelImg'),
    ('.csv', b'', 'a table', 'export as COCO, VOC or YOLO from the tool that wrote it'),
    ('.tfrecord', b'', "TensorFlow's records", 'export as COCO from the tool that wrote them'),
)


def draw_found(tree: Tree) -> str:
    """Draw the folders of a tree with the kinds of files in them and their numbers."""
    lines = []
    for folder in tree.folders:
        paths = [*folder.images.values(), *folder.others]
        kinds = Counter(path.suffix or path.name for path in paths)
        counts = ', '.join(f'{n} {kind}' for kind, n in kinds.most_common(4))
        if counts:
            lines.append(f'{"/".join(folder.parts) or "."}/'.ljust(24) + f' {counts}')
    return '\n'.join(f'  {line}' for line in first_lines(lines)) or '  no file'


def nothing_found(tree: Tree) -> str:
    """Return the message for a folder without a dataset: its contents, and a similar layout."""
    nearest, reason = _judge(tree)
    layout = LAYOUTS[nearest].replace('\n', '\n  ')
    return (
        f'{tree.root} holds no images with annotations: {reason}. Found:\n{draw_found(tree)}\n'
        f'Nearest is the format {nearest}, which is laid out so:\n  {layout}\n'
        f'docs/data.md shows all layouts; compare them with {tree.root}'
    )


def _judge(tree: Tree) -> tuple[str, str]:
    """Return the nearest format, and what is missing."""
    others = [p for f in tree.folders for p in f.others if p.name not in CLASS_FILES]
    files = {suffix: [p for p in others if p.suffix.lower() == suffix] for suffix in _SUFFIXES}
    suffix = max(files, key=lambda suffix: len(files[suffix]))
    nearest = _SUFFIXES[suffix] if files[suffix] else 'masks'
    if suffix == '.json' and 0 < len(files[suffix]) <= _MAX_COCO:
        nearest = 'coco'
    if len([f for f in tree.folders if f.images]) < 2 and nearest == 'masks':
        nearest = 'coco'
    own = next(filter(None, map(_own, others)), None)
    if own:
        return nearest, own
    if not tree.image_names:
        return nearest, 'there is no image'
    if not files[suffix]:
        return nearest, 'there are images, but no annotation files and no masks of their names'
    path = files[suffix][0].relative_to(tree.root)
    if nearest == 'coco':
        return nearest, f'{path} has no list `images`, as COCO files have'
    if path.stem in tree.image_names:
        return nearest, f'{path} has the name of an image, but not the content of this format'
    return nearest, f'{path} has the name of no image; an annotation is named like its image'


def _own(path: Path) -> str | None:
    for suffix, mark, whose, remedy in _OWN:
        if path.suffix.lower() == suffix and mark in path.read_bytes():
            return f'{path} is {whose}; {remedy}'
    return None
