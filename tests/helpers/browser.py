"""A headless Chromium for the tests of pages."""

import json
import shutil

from helpers.machine import skip_without
from selenium import webdriver

CHROMIUM, DRIVER = shutil.which('chromium'), shutil.which('chromedriver')
FLAGS = (
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--window-size=1300,900',
)  # fmt: skip


def start_browser(profile, *flags, without=()):
    """Start Chromium with an empty profile in a folder; skip the test if it is not installed."""
    if not (CHROMIUM and DRIVER):
        skip_without('chromium with its chromedriver')
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    usual = [flag for flag in FLAGS if flag not in without]
    for flag in (*usual, *flags, f'--user-data-dir={profile}'):
        options.add_argument(flag)
    options.set_capability('goog:loggingPrefs', dict(browser='ALL', performance='ALL'))
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))


def requested(browser):
    """Return the addresses that its pages have requested since the last call."""
    messages = [json.loads(entry['message'])['message'] for entry in browser.get_log('performance')]
    urls = [
        message['params']['request']['url']
        for message in messages
        if message['method'] == 'Network.requestWillBeSent'
    ]
    own = ('chrome:', 'data:', 'about:', 'blob:')
    return {url for url in urls if not url.startswith(own)}
