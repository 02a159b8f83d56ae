# The gateway and its daemon in one container, as a user that is not root.
#
#   docker build -t leash .
#   docker run -p 8088:8088 -v leash:/data -e LEASH_AUTH_TOKEN leash serve --max-cost 20
#
# The arguments are those of `leash`. Where the build needs an index or an authority of your own, pip's configuration
# and the certificates are handed to it, and leave no trace in the image:
#
#   docker build --secret id=pip.conf,src=/etc/pip.conf --secret id=ca.crt,src=/etc/ssl/certs/ca-certificates.crt .

FROM debian:bookworm-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends binutils python3 python3-venv
# Two environments: the one that installs stays behind, the one that is installed into has no pip.
RUN python3 -m venv /tools && python3 -m venv --without-pip /opt/leash
WORKDIR /source
# What leash depends on changes seldom: a layer of its own, so that a change in leash does not fetch it again.
COPY pyproject.toml ./
RUN python3 -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
    print(*project["dependencies"], sep="\n")' >dependencies.txt
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca.crt,target=/etc/ssl/certs/ca-certificates.crt \
    /tools/bin/pip --python /opt/leash/bin/python install --no-cache-dir --only-binary :all: -r dependencies.txt
# A good third of what was installed are symbols for a debugger. What was stripped has to load all the same.
RUN find /opt/leash -name '*.so' -exec strip --strip-debug {} + \
    && /opt/leash/bin/python -c 'import aiohttp, brotli, grpc, lmdb, msgspec, psutil, uvloop, zstandard'
COPY README.md LICENSE ./
COPY proto proto
COPY leashd leashd
COPY leashctl leashctl
COPY leash_shim leash_shim
COPY systemd systemd
COPY man man
COPY completions completions
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    --mount=type=secret,id=ca.crt,target=/etc/ssl/certs/ca-certificates.crt \
    /tools/bin/pip --python /opt/leash/bin/python install --no-cache-dir --no-deps .

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="leash" \
      org.opencontainers.image.description="A spend governor for AI agents: the gateway and its daemon." \
      org.opencontainers.image.licenses="Apache-2.0"
# Without certificates there is no provider; tini is the init, which reaps what is orphaned and hands signals on.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log \
    && groupadd --gid 10001 leash \
    && useradd --uid 10001 --gid leash --home-dir /data --no-create-home --shell /usr/sbin/nologin leash \
    && install -d -o leash -g leash -m 0700 /data
COPY --from=build /opt/leash /opt/leash
COPY --chmod=0755 deploy/container/entrypoint /usr/local/bin/leash-container

# The ledger is on the volume for every command, so that `docker exec … leash ps` sees what the gateway does. Loopback
# is of no use to a gateway in a container: who can reach it is for `docker run -p` to say, and who may, for the token.
ENV PATH=/opt/leash/bin:$PATH \
    HOME=/data \
    LEASH_DB=/data/leash.db \
    LEASH_LISTEN=:8088 \
    LEASH_ADMIN=:8089 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8088 8089
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s --retries=3 CMD ["leash", "healthcheck"]
ENTRYPOINT ["/usr/bin/tini", "-s", "-g", "--", "/usr/local/bin/leash-container"]
CMD ["--help"]
