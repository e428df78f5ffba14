"""Addresses of weights: downloads are verified and cached, and failures say what to do."""

import hashlib
import io
import json
import tarfile
import threading

import pytest
import torch
from helpers.site import Site
from torchvision.models import mobilenet_v2

from mbv2_backbone import MobileNetV2Backbone
from mbv2_backbone.common import downloads
from mbv2_backbone.weights import load_into, sources
from mbv2_backbone.weights.sources import fetch


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr(downloads, 'PAUSE_SECONDS', 0.01)
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()


@pytest.fixture(scope='module')
def weights():
    buffer = io.BytesIO()
    torch.save(mobilenet_v2(width_mult=0.35).state_dict(), buffer)
    return buffer.getvalue()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_a_download_is_complete_shown_and_cached(site, weights, capsys):
    site.files['/a/model.pth'] = weights
    path = fetch(f'{site.url}/a/model.pth')
    assert path.read_bytes() == weights
    shown = capsys.readouterr().err
    assert f'of {len(weights) / 1e6:.1f} MB (' in shown
    assert '100 %' in shown
    assert fetch(f'{site.url}/a/model.pth') == path
    assert site.gets('/a/model.pth') == 1
    assert not list(path.parent.glob('*.part'))


def test_the_same_name_at_two_addresses_is_two_files(site, weights):
    site.files |= {'/a/model.pth': weights, '/b/model.pth': weights + b' '}
    first, second = (fetch(f'{site.url}/{page}/model.pth') for page in 'ab')
    assert first.read_bytes() == weights
    assert second.read_bytes() == weights + b' '


def test_a_damaged_file_in_the_cache_is_downloaded_again(site, weights):
    site.files['/model.pth'] = weights
    path = fetch(f'{site.url}/model.pth')
    path.write_bytes(weights[:-5])
    assert fetch(f'{site.url}/model.pth').read_bytes() == weights
    assert site.gets('/model.pth') == 2


def test_a_hash_in_the_name_is_checked(site, weights):
    good, bad = f'/m-{sha256(weights)[:8]}.pth', '/m-0123abcd.pth'
    site.files |= {good: weights, bad: weights}
    assert fetch(site.url + good).read_bytes() == weights
    with pytest.raises(ValueError, match=r'SHA-256 begins with 0123abcd, got'):
        fetch(site.url + bad)
    assert [p.name for p in fetch(site.url + good).parent.glob('*.pth')] == [good[1:]]


def test_a_date_in_the_name_is_not_a_hash(site, weights):
    site.files['/m-20200708.pth'] = weights
    assert fetch(f'{site.url}/m-20200708.pth').read_bytes() == weights


def test_a_hash_in_the_address_is_checked(site, weights):
    site.files['/model.pth'] = weights
    assert fetch(f'{site.url}/model.pth#sha256={sha256(weights)}').read_bytes() == weights
    with pytest.raises(ValueError, match='SHA-256 begins with 00ff'):
        fetch(f'{site.url}/model.pth#sha256=00ff')


def test_torchs_own_cache_is_used(site, weights, tmp_path):
    name = f'm-{sha256(weights)[:8]}.pth'
    cache = tmp_path / 'torch' / 'hub' / 'checkpoints'
    cache.mkdir(parents=True)
    (cache / name).write_bytes(weights)
    assert fetch(f'{site.url}/{name}') == cache / name
    assert site.requests == []


def test_a_web_page_is_not_cached(site):
    site.files['/model.pth'] = b'<!DOCTYPE html><html>Sign in</html>'
    for times in (1, 2):
        with pytest.raises(ValueError, match='a web page'):
            fetch(f'{site.url}/model.pth')
        assert site.gets('/model.pth') == times


def test_a_broken_connection(site, weights):
    site.files['/model.pth'] = weights[:5000]
    site.headers['/model.pth'] = {'Content-Length': str(len(weights))}
    with pytest.raises(RuntimeError, match=f'5000 of {len(weights)} bytes'):
        fetch(f'{site.url}/model.pth')


def test_not_found_and_no_server(site):
    with pytest.raises(ValueError, match='the server says 404'):
        fetch(f'{site.url}/gone.pth')
    site.server.shutdown()
    site.server.server_close()
    with pytest.raises(RuntimeError, match='download it elsewhere and give its path'):
        fetch(f'{site.url}/model.pth')


def test_processes_do_not_download_twice(site, weights):
    site.files['/model.pth'] = weights
    threads = [threading.Thread(target=fetch, args=[f'{site.url}/model.pth']) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert site.gets('/model.pth') == 1


@pytest.mark.parametrize(
    ('table', 'address'),
    [
        ('get_torchvision_models', 'torchvision://mobilenet_v2'),
        ('get_external_models', 'open-mmlab://mmdet/mobilenet_v2'),
        ('get_external_models', 'openmmlab://mmdet/mobilenet_v2'),
        ('get_mmcls_models', 'mmcls://mobilenet_v2'),
    ],
)
def test_short_names_lead_to_the_toolboxes_addresses(site, weights, monkeypatch, table, address):
    from mmengine.runner import checkpoint

    name = address.partition('://')[2]
    published = getattr(checkpoint, table)()[name]
    assert published.startswith('https://')
    site.files['/model.pth'] = weights
    monkeypatch.setattr(checkpoint, table, lambda: {name: f'{site.url}/model.pth'})
    backbone = MobileNetV2Backbone(widen_factor=0.35, out_indices='conv2')
    report = load_into(backbone, address)
    assert (report.source, report.filled) == (address, 312)


def test_unknown_short_names():
    with pytest.raises(ValueError, match=r'torchvision has no .*models are mobilenet_v2'):
        fetch('torchvision://mobilenet_v9')
    with pytest.raises(ValueError, match=r'open-mmlab has no .*mmdet/mobilenet_v2'):
        fetch('open-mmlab://mobilenet')
    with pytest.raises(ValueError, match=r"timm has no 'mobilenetv2_075'"):
        fetch('timm://mobilenetv2_075')
    with pytest.raises(ValueError, match=r'unknown address s3://bucket/a.pth'):
        fetch('s3://bucket/a.pth')


@pytest.mark.parametrize('address', ['mobilenetv2_050', 'mobilenetv2_050.lamb_in1k'])
def test_timm_weights_come_through_the_hubs_client(site, tmp_path, monkeypatch, address):
    import timm
    from huggingface_hub import constants
    from safetensors.torch import save

    state_dict = timm.create_model('mobilenetv2_050').state_dict()
    content = save(state_dict)
    path = '/timm/mobilenetv2_050.lamb_in1k/resolve/main/model.safetensors'
    site.files[path] = content
    site.headers[path] = {'ETag': f'"{sha256(content)}"', 'X-Repo-Commit': '0' * 40}
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, site.url)
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
    monkeypatch.setattr(constants, 'ENDPOINT', site.url)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
    backbone = MobileNetV2Backbone(widen_factor=0.5)
    load_into(backbone, f'timm://{address}')
    assert torch.equal(backbone.conv1.conv.weight, state_dict['conv_stem.weight'])
    assert ('HEAD', path) in site.requests
    with pytest.raises(RuntimeError, match=r'could not get timm://mobilenetv2_100.ra_in1k'):
        fetch('timm://mobilenetv2_100.ra_in1k')


def test_timm_names_are_timms_own():
    import timm

    from mbv2_backbone.weights.sources import TIMM_TAGS

    pretrained = {n for n in timm.list_pretrained('mobilenetv2_*') if 'd.' not in n}
    assert {f'{name}.{tag}' for name, tag in TIMM_TAGS.items()} == pretrained


def test_local_paths(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert fetch('~/a.pth') == tmp_path / 'a.pth'
    assert fetch(tmp_path / 'b.pth') == tmp_path / 'b.pth'


def test_open_mmlab_names_of_the_users_own(tmp_path, monkeypatch, weights):
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path))
    (tmp_path / 'open_mmlab.json').write_text(json.dumps({'mine': 'mine.pth'}))
    (tmp_path / 'mine.pth').write_bytes(weights)
    assert fetch('open-mmlab://mine') == tmp_path / 'mine.pth'


def archive(content, name='model/frozen_inference_graph.pb'):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w:gz') as tar:
        for member, data in (('model/other.txt', b'text'), ('/outside.pb', b'no'), (name, content)):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ('name', 'path', 'member'),
    [
        (
            'ssdlite_mobilenet_v2_coco_2018_05_09',
            '/models/object_detection/ssdlite_mobilenet_v2_coco_2018_05_09.tar.gz',
            'model/frozen_inference_graph.pb',
        ),
        (
            'deeplabv3_mnv2_cityscapes_train_2018_02_05',
            '/models/deeplabv3_mnv2_cityscapes_train_2018_02_05.tar.gz',
            'deeplabv3/frozen_inference_graph.pb',
        ),
        (
            'mobilenet_v2_1.0_224',
            '/slim/mobilenet_v2_1.0_224.tgz',
            './mobilenet_v2_1.0_224_frozen.pb',
        ),
    ],
)
def test_the_graph_of_an_archive_of_tensorflow(site, monkeypatch, name, path, member):
    folders = {
        key: url.replace('http://download.tensorflow.org', site.url)
        for key, url in sources.TENSORFLOW_ARCHIVES.items()
    }
    monkeypatch.setattr(sources, 'TENSORFLOW_ARCHIVES', folders)
    monkeypatch.setattr(sources, '_SLIM', f'{site.url}/slim/')
    site.files[path] = archive(b'the graph', member)
    for _ in range(2):
        graph = fetch(f'tensorflow://{name}')
        assert graph.read_bytes() == b'the graph'
    assert site.gets(path) == 1
    assert {file.name for file in graph.parent.iterdir() if file.suffix == '.pb'} == {f'{name}.pb'}


def test_archives_without_a_graph_are_refused(site, monkeypatch):
    monkeypatch.setattr(sources, '_SLIM', f'{site.url}/slim/')
    path = '/slim/mobilenet_v2_1.0_224.tgz'
    site.files[path] = b'<html>not found</html>'
    with pytest.raises(ValueError, match='not a tar archive'):
        fetch('tensorflow://mobilenet_v2_1.0_224')
    site.files[path] = archive(b'x', 'model/readme.md')
    with pytest.raises(ValueError, match='no frozen graph'):
        fetch('tensorflow://mobilenet_v2_1.0_224')
    with pytest.raises(ValueError, match='its MobileNetV2 models are ssdlite_mobilenet_v2_coco'):
        fetch('tensorflow://mobilenet_v1')
