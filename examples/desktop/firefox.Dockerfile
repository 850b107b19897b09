# A browser as Debian has it, and nothing of desktops: docker build --tag localhost/firefox:1 - < firefox.Dockerfile
FROM docker.io/library/debian:trixie-slim
RUN apt-get update \
 && apt-get install --yes --no-install-recommends firefox-esr fonts-dejavu-core \
 && rm -rf /var/lib/apt/lists/*
USER 1000
ENTRYPOINT ["/usr/bin/firefox-esr"]
