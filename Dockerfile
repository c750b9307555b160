# What the organisers' machine runs, and what `run_eval.py --runner docker` and `submit --runner docker` run.
#
# The base needs Python 3.11 or later with venv, and apt. It needs no CUDA: torch's wheels bring the CUDA
# libraries, ONNX Runtime uses those, and the container toolkit adds the driver (Linux: 580.65.06 or later,
# the oldest for CUDA 13).
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

# Asks NVIDIA's container runtime for the GPU where there is one; without it they mean nothing.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PATH=/opt/venv/bin:$PATH

COPY apt.txt /tmp/
RUN apt-get update \
    && sed 's/#.*//' /tmp/apt.txt | xargs --no-run-if-empty apt-get install --yes --no-install-recommends \
    && rm -rf /var/lib/apt/lists/*

COPY requirements.txt /tmp/
RUN python3 -m venv /opt/venv \
    && pip install --no-cache-dir --requirement /tmp/requirements.txt

RUN useradd --uid 1001 --user-group --create-home aicrowd
WORKDIR /home/aicrowd
# .dockerignore decides what of the repository this is.
COPY --chown=1001:1001 . .
USER 1001
