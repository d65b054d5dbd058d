# ttrl-env on Ubuntu 24.04, for CPUs by default:
#
#   docker build -t ttrl-env .
#   docker run --rm ttrl-env doctor
#
# For NVIDIA GPUs, on which MuJoCo renders too:
#
#   docker build -t ttrl-env:cuda --build-arg BASE=nvidia/cuda:12.8.1-base-ubuntu24.04 --build-arg TORCH=cu128 .
#   docker run --rm --gpus all ttrl-env:cuda doctor
ARG BASE=ubuntu:24.04
FROM ${BASE}

# the build of PyTorch, as uv names it: cpu, cu128, ...
ARG TORCH=cpu

# EGL with Mesa's software renderer; Triton compiles its launchers with gcc
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        gcc libc6-dev libegl1 libgl1 libopengl0 libgl1-mesa-dri python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

# the container toolkit brings the GPU's own EGL with "graphics"
ENV NVIDIA_DRIVER_CAPABILITIES=compute,graphics,utility \
    MUJOCO_GL=egl \
    VIRTUAL_ENV=/opt/ttrl \
    PATH=/opt/ttrl/bin:$PATH \
    UV_COMPILE_BYTECODE=1

WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY ttrl_env ttrl_env
COPY kernels kernels
COPY agents agents
# PyTorch first: the others are then content with it. Modules are compiled now, as the user below cannot write there
RUN python3 -m venv /opt/ttrl \
    && pip install --no-cache-dir 'uv>=0.9' \
    && uv pip install --no-cache --torch-backend "$TORCH" "$(grep -oE 'torch>=[0-9.]+' pyproject.toml)" \
    && uv pip install --no-cache '.[libero,sb3,wandb]'

RUN useradd --create-home ttrl
USER ttrl
WORKDIR /home/ttrl

# a real simulation with both engines, on Mesa; the task that it compiles is not kept
RUN TTRL_CACHE=/tmp/ttrl-cache ttrl doctor && rm -rf /tmp/ttrl-cache

ENTRYPOINT ["ttrl"]
CMD ["doctor"]
