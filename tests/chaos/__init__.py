"""Everything goes wrong at once while people edit: then the target is compared with the CRM, record by record.

``python -m tests.chaos`` (``make chaos``) prints the table; a short form is one of the tests (`tests/test_chaos.py`).
It is a test of the steps with real processes, so it lives here and not with the measurements.
"""
