# Stage 1: every wheel, third-party ones by hash.
FROM python:3.11-slim-trixie AS build
WORKDIR /src
COPY requirements.txt requirements-build.txt ./
RUN pip wheel --no-cache-dir --require-hashes --wheel-dir /wheels -r requirements.txt \
 && pip install --no-cache-dir --require-hashes -r requirements-build.txt
COPY pyproject.toml README.md CHANGELOG.md ./
COPY cdshooks cdshooks
COPY mappings mappings
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

# Stage 2: the service. The database under /data is the only thing it writes, so the root may be read-only.
FROM python:3.11-slim-trixie
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --no-deps /wheels/*.whl \
 && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin cdshooks \
 && install --directory --owner=cdshooks /data
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CDSHOOKS_DATABASE=sqlite:////data/cdshooks.db
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
ENTRYPOINT ["cdshooks"]
# Refuses to start without [[clients]] in the file that CDSHOOKS_CONFIG names; to try it out, add --open.
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
