# The server in a small image: one binary and its settings, run by a user without rights.
#
#   docker build -t letshare-server .
#
# The caches need BuildKit (the default since Docker 23; before that DOCKER_BUILDKIT=1).

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked --features mongo --bin letshare-server \
    && install -D target/dist/letshare-server /out/letshare-server

# The same Debian as the build: the binary needs its C library and nothing else.
FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin letshare \
    && install --directory --owner=letshare --group=letshare /app/data /app/logs
# data/ and logs/ are found relative to here, and so are configs/$MODE.yaml and the files of the older servers where they
# are mounted: all modes are built in.
WORKDIR /app
COPY --from=build /out/letshare-server /usr/local/bin/letshare-server
COPY --from=build /src/LICENSE-APACHE /src/LICENSE-MIT /usr/share/doc/letshare-server/
USER 10001

# Loopback of a container is reached by nobody.
ENV LETSHARE_SERVER_HOST=0.0.0.0
EXPOSE 8080
VOLUME ["/app/data", "/app/logs"]
# No shell, no wget: the binary asks itself, on the address that it is configured for.
HEALTHCHECK --interval=30s --timeout=5s --start-period=5s --retries=3 CMD ["letshare-server", "health"]
# SIGTERM drains: 1001 to every client, gone after `shutdown.grace` (`docker stop --time 35`).
ENTRYPOINT ["letshare-server"]
