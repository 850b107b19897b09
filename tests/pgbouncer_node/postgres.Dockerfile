# PostgreSQL with its clients, as the chart's tests have it by default.
FROM docker.io/library/debian:trixie-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends postgresql-17 postgresql-client-17 \
 && rm -rf /var/lib/apt/lists/*
ENV PATH=/usr/lib/postgresql/17/bin:/usr/bin:/bin
USER 65532
ENTRYPOINT ["/bin/sh"]
