# One image for the service and its workers: what comes after `callback-sdk` says which of them it is.
#
#     docker build --tag callback-sdk .
#     docker run --publish 127.0.0.1:8000:8000 --volume callback-sdk-data:/data callback-sdk
#
# Algorithms of your own: FROM callback-sdk, RUN /opt/callback-sdk/bin/pip install your_package, and its registry
# as the command, CMD ["serve", "your_package.jobs:registry"].

FROM python:3.13-slim AS build

RUN python -m venv /opt/callback-sdk
WORKDIR /src
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY callback_sdk ./callback_sdk
RUN /opt/callback-sdk/bin/pip install --no-cache-dir ".[service,celery,postgres,parquet]"

FROM python:3.13-slim

RUN groupadd --system --gid 10001 callback-sdk \
    && useradd --system --uid 10001 --gid callback-sdk --home-dir /data --no-create-home callback-sdk \
    && install --directory --owner=callback-sdk --group=callback-sdk --mode=0700 /data
COPY --from=build /opt/callback-sdk /opt/callback-sdk

ENV PATH=/opt/callback-sdk/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CALLBACK_SDK_DATA=/data \
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
