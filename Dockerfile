# One image for Airflow's services, the MLflow server and the model server: they share one lock.
FROM python:3.12-slim-bookworm AS build
WORKDIR /opt/gauntlet
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
COPY requirements.lock ./
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements.lock

FROM python:3.12-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 curl tini git \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 50000 --create-home --shell /usr/sbin/nologin gauntlet
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONPATH=/opt/gauntlet/include:/opt/gauntlet/config \
    AIRFLOW_HOME=/var/lib/airflow \
    GAUNTLET_HOME=/var/lib/gauntlet \
    GAUNTLET_MODELS=/opt/gauntlet/include/models
WORKDIR /opt/gauntlet
COPY pyproject.toml README.md requirements.lock ./
COPY include include
COPY config config
COPY dags dags
COPY plugins plugins
# The page inside Airflow shows the runbook.
COPY docs docs
COPY deploy/objects.py deploy/objects.py
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation -e . \
    && mkdir -p /var/lib/airflow /var/lib/gauntlet /var/lib/mlflow \
    && chown -R gauntlet /var/lib/airflow /var/lib/gauntlet /var/lib/mlflow
USER gauntlet
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["gauntlet", "--help"]
