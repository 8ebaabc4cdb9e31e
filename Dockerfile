# Graftline on the processor, as a user without rights. Build and run, in your project's folder:
#   docker build -t graftline /path/to/this/clone
#   docker run --rm -it -v "$PWD:/project" -u "$(id -u):$(id -g)" -e HOME=/tmp graftline adapt
# PyTorch's usual build brings gigabytes for GPUs. To leave them out, name the index of its builds for processors:
#   docker build --build-arg PIP_OPTIONS="--extra-index-url ADDRESS" ...
FROM python:3.11-slim AS installed
ARG PIP_OPTIONS=""
WORKDIR /source
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY graftline graftline
COPY tasks tasks
COPY flows flows
# What templates of `graftline init` are links to.
COPY base_models.lock dvc.yaml params.yaml prefect.yaml ./
COPY mlflow/promotion.yaml mlflow/server.yaml mlflow/
# The lock as a constraint: its versions, without what only tests need.
RUN python -m venv /opt/graftline \
 && /opt/graftline/bin/pip install --no-cache-dir --disable-pip-version-check $PIP_OPTIONS --constraint requirements.lock ".[openvino]"

FROM python:3.11-slim AS user
# A run records the commit that it was made from.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git \
 && rm -rf /var/lib/apt/lists/* \
 && git config --system --add safe.directory /project \
 && useradd --create-home --uid 1000 graftline \
 && install --directory --owner graftline /project
COPY --from=installed /opt/graftline /opt/graftline
ENV PATH=/opt/graftline/bin:$PATH PYTHONUNBUFFERED=1
USER graftline
WORKDIR /project

# For a work pool of deploy/, whose worker says what the container does:
#   docker build --target runs -t graftline-runs /path/to/this/clone
FROM user AS runs
WORKDIR /home/graftline
ENTRYPOINT ["/usr/bin/env"]
CMD ["prefect", "--help"]

FROM user
ENTRYPOINT ["graftline"]
CMD ["--help"]
