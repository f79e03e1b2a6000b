"""A task is killed at every call and every commit, one after the other; each time the run is done again, and what is
there then is compared with what an undisturbed run leaves.

``python -m tests.crash`` (``make crash``) kills at all of them; a few are among the tests (`tests/test_crash.py`).
Nothing in the code says where it may die: what a proxy sees from outside does.
"""
