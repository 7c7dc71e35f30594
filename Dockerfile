# One image for the service and its workers: the command is the arguments of `callback-sdk`.
#
#     docker build --tag callback-sdk .
#     docker run --publish 127.0.0.1:8000:8000 --volume callback-sdk-data:/data callback-sdk
#
# For your own algorithms: FROM callback-sdk, RUN /opt/callback-sdk/bin/pip install your_package, and its registry in
# the command, CMD ["serve", "your_package.jobs:registry"].

# The digest selects the image. To upgrade, change both lines; `docker buildx imagetools inspect python:3.13-slim` prints it.
FROM python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b AS build

RUN python -m venv /opt/callback-sdk
WORKDIR /src
# `make lock` generates the file, for the extras service, celery, postgres and parquet.
COPY requirements-image.txt ./
RUN /opt/callback-sdk/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements-image.txt
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY callback_sdk ./callback_sdk
# Without build isolation, for which pip would download a setuptools that is not locked.
RUN /opt/callback-sdk/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

RUN groupadd --system --gid 10001 callback-sdk \
    && useradd --system --uid 10001 --gid callback-sdk --home-dir /data --no-create-home callback-sdk \
    && install --directory --owner=callback-sdk --group=callback-sdk --mode=0700 /data
COPY --from=build /opt/callback-sdk /opt/callback-sdk

# Large documents are spooled to the volume, because /tmp is in memory with a read-only root file system.
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

# Unhealthy while the database, blob storage or broker is unavailable. urllib would use a proxy.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", "\
import http.client, os; \
connection = http.client.HTTPConnection('127.0.0.1', int(os.environ['CALLBACK_SDK_PORT']), timeout=4); \
connection.request('GET', '/readyz'); \
raise SystemExit(connection.getresponse().status != 200)"]

ENTRYPOINT ["callback-sdk"]
CMD ["serve", "callback_sdk.examples:registry"]
