"""Read the data of a report."""

import json


def read_report(work_dir):
    return json.loads((work_dir / 'report' / 'report.json').read_text())
