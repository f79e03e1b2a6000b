# Airflow with this project's provider and the simulator. The slim image holds Airflow alone, so that what is installed
# is what requirements.lock says and what the tests ran with; `pip check` proves it.
FROM apache/airflow:slim-3.3.2-python3.11

COPY --chown=airflow:root requirements.txt requirements.lock /tmp/project/
RUN pip install --no-cache-dir --requirement /tmp/project/requirements.txt --constraint /tmp/project/requirements.lock

COPY --chown=airflow:root pyproject.toml README.md /tmp/project/
COPY --chown=airflow:root plugins /tmp/project/plugins
COPY --chown=airflow:root simulator /tmp/project/simulator
RUN pip install --no-cache-dir --no-deps --no-build-isolation /tmp/project /tmp/project/simulator \
    && pip check \
    && rm -r /tmp/project \
    # A named volume mounted here is given to whom the folder belongs.
    && mkdir -p /opt/airflow/stage
