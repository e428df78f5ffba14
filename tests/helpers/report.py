"""Reports of small models, read back."""

import json


def read_report(work_dir):
    return json.loads((work_dir / 'report' / 'report.json').read_text())
