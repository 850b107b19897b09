# A GTK app as Debian has it, and nothing of desktops: docker build --tag localhost/mousepad:1 - < mousepad.Dockerfile
FROM docker.io/library/debian:trixie-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends fonts-dejavu-core mousepad \
 && rm -rf /var/lib/apt/lists/*
USER 1000
ENTRYPOINT ["/usr/bin/mousepad"]
