# syntax=docker/dockerfile:1

# The image of the service: the binary and the libraries it is linked to, no shell, no package manager, not root.

FROM rust:1.95.0-slim-bookworm AS build
# librdkafka is built from its source, against the distribution's OpenSSL.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ make pkg-config libssl-dev \
    && rm -rf /var/lib/apt/lists/*
# The image's own toolchain, whatever else rust-toolchain.toml would fetch; and zlib linked in, which the base below lacks.
ENV RUSTUP_TOOLCHAIN=1.95.0 LIBZ_SYS_STATIC=1
WORKDIR /src
COPY . .
# Without the embedded broker of `user-courier demo`, which has no place beside a real one.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --no-default-features --features otlp \
    && strip --strip-debug -o /user-courier target/release/user-courier

# Debian 12, as above, with glibc, libgcc, OpenSSL and the certificates of the public authorities.
FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="user-courier" \
      org.opencontainers.image.description="Carries user updates from Apache Kafka to user-management APIs, in order per user" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /user-courier /usr/local/bin/user-courier
# /livez, /readyz, /status and /metrics, where admin.listen says so.
EXPOSE 9464
STOPSIGNAL SIGTERM
# There is no shell and no curl in here: the binary asks its own admin endpoint. Of the
# configuration it reads admin.listen only.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["/usr/local/bin/user-courier", "health", "--config", "/etc/user-courier/user-courier.toml"]
ENTRYPOINT ["/usr/local/bin/user-courier"]
CMD ["run", "--config", "/etc/user-courier/user-courier.toml"]
