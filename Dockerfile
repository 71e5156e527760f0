# Waylog as an image: pages, program, and a small run time without root.
#
#   docker build -t waylog .
#   docker run -p 8080:8080 -v waylog:/var/lib/waylog -e WAYLOG__ADMIN_KEY=… -e WAYLOG__DATABASE__URL=… waylog
#
# compose.yaml runs it with a Postgres.

FROM node:22-bookworm-slim AS pages
WORKDIR /src/web
COPY web/package.json web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY web/ ./
RUN npm run build

FROM rust:1.90-bookworm AS program
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto/ proto/
COPY migrations/ migrations/
COPY config/ config/
COPY basemap/ basemap/
COPY benches/ benches/
COPY loadtest/ loadtest/
COPY src/ src/
COPY --from=pages /src/web/dist/ web/dist/
RUN cargo build --release --locked --bin waylog

FROM debian:bookworm-slim
# pg_dump and pg_restore for `waylog backup` and `waylog restore`; certificates for webhooks; TLS to
# Kafka.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 postgresql-client-15 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 waylog \
    && useradd --system --uid 10001 --gid waylog --home-dir /var/lib/waylog --create-home waylog \
    && install -d -o waylog -g waylog -m 700 /var/backups/waylog
COPY --from=program /src/target/release/waylog /usr/local/bin/waylog
COPY docs/runbook.md /usr/share/doc/waylog/runbook.md
USER waylog
WORKDIR /var/lib/waylog
ENV WAYLOG__DATA_DIR=/var/lib/waylog \
    WAYLOG__HTTP__LISTEN=0.0.0.0:8080 \
    WAYLOG__HTTP__OPERATOR_LISTEN=127.0.0.1:9090
VOLUME /var/lib/waylog
EXPOSE 8080
HEALTHCHECK --start-period=60s --interval=15s CMD ["waylog", "status", "--ready"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["waylog"]
CMD ["serve"]
