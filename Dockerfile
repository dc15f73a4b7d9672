# Moongate as an image: Debian's package in Debian's slim image. docs/docker.md says how to use it.
#
# tools/trial-docker builds it by buildah where there is no Docker.

FROM debian:bookworm-slim AS build
ENV DEBIAN_FRONTEND=noninteractive
WORKDIR /src
RUN apt-get -q update && apt-get -q -y --no-install-recommends install build-essential
COPY debian/ /src/debian/
RUN apt-get -q -y --no-install-recommends build-dep ./
COPY . /src
# PGO=1: the release build, by the counts of a run, which takes three times as long.
ARG PGO
RUN DEB_BUILD_OPTIONS="parallel=$(nproc) ${PGO:-nopgo}" dpkg-buildpackage --build=binary --no-sign && \
    mkdir /packages && mv /moongate_*.deb /packages/moongate.deb

FROM debian:bookworm-slim
ENV DEBIAN_FRONTEND=noninteractive
COPY --from=build /packages/ /packages/
# A number, so that "runs as non-root" can be seen from outside.
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin moongate && \
    apt-get -q update && \
    apt-get -q -y --no-install-recommends install /packages/moongate.deb lua-cjson && \
    rm -rf /var/lib/apt/lists/* /packages && \
    install -d -o moongate -g moongate /run/moongate && install -d /srv/www
COPY dist/docker/route.lua /etc/moongate/route.lua
COPY dist/docker/www/ /srv/www/
ENV MOONGATE_CONTROL=unix:/run/moongate/moongate.sock
USER 10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=10s CMD ["moongate", "status"]
CMD ["moongate", "run", "/etc/moongate/route.lua"]
