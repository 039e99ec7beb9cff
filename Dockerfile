FROM python:3.12-slim AS build
WORKDIR /src
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY crmgate crmgate
RUN python -m venv /opt/crmgate && /opt/crmgate/bin/pip install --no-cache-dir .

FROM python:3.12-slim
RUN useradd --system --no-create-home crmgate
COPY --from=build /opt/crmgate /opt/crmgate
WORKDIR /app
COPY wsgi.py gunicorn.conf.py ./
COPY plugins plugins
ENV PATH=/opt/crmgate/bin:$PATH PYTHONUNBUFFERED=1
USER crmgate
CMD ["gunicorn", "wsgi:app", "--workers", "2", "--threads", "8", "--bind", "0.0.0.0:8000", "--graceful-timeout", "30"]
