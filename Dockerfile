# An image in which `proctor doctor` and `proctor demo` run, without a display and without root. docs/containers.md says
# how it is built and what was run in it. `make dist` first: the image contains the wheels of this checkout.
#
#   CPU    docker build -t proctor .
#   CUDA   docker build -t proctor:cuda --build-arg BASE_IMAGE=<a CUDA runtime image with Python 3.11 or newer> .
ARG BASE_IMAGE=debian:bookworm-slim
FROM ${BASE_IMAGE}

# The libraries with which MuJoCo draws on the CPU; a GPU's own are mounted by its container toolkit. LeRobot needs evdev,
# which exists as source only, and torch.compile a C compiler as well.
COPY tools/system_packages /usr/local/bin/system_packages
# The base image decides the versions.
# hadolint ignore=DL3008
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        ca-certificates gcc g++ python3 python3-dev python3-venv \
    && system_packages drawing \
    && rm -rf /var/lib/apt/lists/*

# Extras of proctor-eval. torch is that of the index, with CUDA; --build-arg PIP_EXTRA_INDEX_URL=… names another one.
ARG EXTRAS=demo
ARG PIP_EXTRA_INDEX_URL=
COPY dist/*.whl /tmp/dist/
RUN python3 -m venv /opt/proctor \
    && wheel=$(echo /tmp/dist/proctor_eval-[0-9]*.whl) \
    && /opt/proctor/bin/pip install --no-cache-dir --find-links /tmp/dist "${wheel}[${EXTRAS}]" \
    && rm -rf /tmp/dist \
    && useradd --create-home --uid 10001 proctor

# NVIDIA_DRIVER_CAPABILITIES: MuJoCo draws on a GPU through the driver's GL, which is not mounted by default.
ENV PATH=/opt/proctor/bin:${PATH} MUJOCO_GL=egl NVIDIA_DRIVER_CAPABILITIES=all
USER 10001
WORKDIR /home/proctor
ENTRYPOINT ["proctor"]
CMD ["--help"]
