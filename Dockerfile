# docker build -t attune .                             CPU
# docker build -t attune --build-arg DEVICE=cuda .     NVIDIA GPU (run with --gpus all)
# A package index that has CPU-only builds of torch makes the CPU image gigabytes smaller: --build-arg TORCH_INDEX=URL
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

ARG DEVICE=cpu
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

RUN useradd --create-home --uid 1000 attune && mkdir /data && chown attune /data
WORKDIR /app

COPY constraints.txt ./
RUN if [ "$DEVICE" = cpu ] && [ -n "$TORCH_INDEX" ]; then pip install -c constraints.txt --index-url "$TORCH_INDEX" torch; \
    else pip install -c constraints.txt torch; fi

COPY . .
RUN pip install -c constraints.txt -e 'clients/python[cli]' -e .

USER attune
ENV ATTUNE_DATA=/data ATTUNE_HOST=0.0.0.0 ATTUNE_PORT=8000
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD python -c "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['ATTUNE_PORT'] + '/healthz', timeout=4)"
ENTRYPOINT ["attune"]
CMD ["serve"]
