# A Java app with Swing as Debian has it, and nothing of desktops: docker build --tag localhost/jedit:1 - < jedit.Dockerfile
FROM docker.io/library/debian:trixie-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends fonts-dejavu-core jedit \
 && rm -rf /var/lib/apt/lists/*
USER 1000
ENTRYPOINT ["/usr/bin/jedit"]
