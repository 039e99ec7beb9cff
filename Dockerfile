# syntax=docker/dockerfile:1
ARG PYTHON=3.13-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# Dependencies first: a change of the code does not install them again.
COPY contrib/docker/constraints.txt ./
RUN python -m venv /opt/crmgate && /opt/crmgate/bin/pip install --require-virtualenv --require-hashes -r constraints.txt
COPY setup.py setup.cfg pyproject.toml README.md LICENSE ./
COPY crmgate crmgate
COPY plugins plugins
RUN /opt/crmgate/bin/pip install --require-virtualenv --no-deps . && /opt/crmgate/bin/pip check

FROM python:${PYTHON}
ARG PYTHON
LABEL org.opencontainers.image.title="crmgate" \
      org.opencontainers.image.description="A self-hosted gateway between a website and its CRM that loses no lead" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="docker.io/library/python:${PYTHON}"
# The setup of a CRM writes its key into /run/crmgate; the spool is in /var/lib/crmgate. New volumes there get this owner.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin crmgate \
    && install -d -o crmgate -g crmgate -m 0700 /run/crmgate /var/lib/crmgate /var/lib/crmgate/spool
COPY --from=build /opt/crmgate /opt/crmgate
COPY contrib/docker/entrypoint.sh /usr/local/bin/crmgate-entrypoint
# Plugins of your own belong into /app/plugins; those that come with crmgate are in the package.
WORKDIR /app
COPY wsgi.py gunicorn.conf.py ./
ENV PATH=/opt/crmgate/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["crmgate-entrypoint"]
# gunicorn keeps the heartbeats of its workers in memory: the file system can be read-only.
CMD ["gunicorn", "wsgi:app", "--bind", "0.0.0.0:8000", "--worker-tmp-dir", "/dev/shm"]
