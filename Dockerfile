# One image for the service and its workers: what comes after `callback-sdk` says which of them it is.
#
#     docker build --tag callback-sdk .
#     docker run --publish 127.0.0.1:8000:8000 --volume callback-sdk-data:/data callback-sdk
#
# Algorithms of your own: FROM callback-sdk, RUN /opt/callback-sdk/bin/pip install your_package, and its registry
# as the command, CMD ["serve", "your_package.jobs:registry"].

# The digest decides; a newer image is a change of both lines. `docker buildx imagetools inspect python:3.13-slim` shows it.
FROM python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b AS build

RUN python -m venv /opt/callback-sdk
WORKDIR /src
# `make lock` makes it, for the extras service, celery, postgres and parquet.
COPY requirements-image.txt ./
RUN /opt/callback-sdk/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements-image.txt
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY callback_sdk ./callback_sdk
# Without build isolation, as pip would fetch a setuptools for it that is not locked.
RUN /opt/callback-sdk/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

RUN groupadd --system --gid 10001 callback-sdk \
    && useradd --system --uid 10001 --gid callback-sdk --home-dir /data --no-create-home callback-sdk \
    && install --directory --owner=callback-sdk --group=callback-sdk --mode=0700 /data
COPY --from=build /opt/callback-sdk /opt/callback-sdk

# Large documents are spooled to the volume: a /tmp in memory, as beside a read-only root file system, is no place for them.
ENV PATH=/opt/callback-sdk/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/data \
    CALLBACK_SDK_DATA_DIR=/data \
    CALLBACK_SDK_HOST=0.0.0.0 \
    CALLBACK_SDK_PORT=8000 \
    CALLBACK_SDK_LOG_FORMAT=json

USER callback-sdk
WORKDIR /data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM

# Not ready while the database, the blobs or the broker is away. urllib would ask a proxy.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", "\
import http.client, os; \
connection = http.client.HTTPConnection('127.0.0.1', int(os.environ['CALLBACK_SDK_PORT']), timeout=4); \
connection.request('GET', '/readyz'); \
raise SystemExit(connection.getresponse().status != 200)"]

ENTRYPOINT ["callback-sdk"]
CMD ["serve", "callback_sdk.examples:registry"]
