"""The machine that puts everything in any order: people, faults, tasks, deaths; checked after each task.

::

    drawn     how the CRM behaves and what the pipeline declares     people   what is done in the CRM
    running   runs and reconciles that have begun                    truth    what the target must hold then
    sync      the machine itself

`tests/test_steps_machine.py` lets it run.
"""
