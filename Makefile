# What a developer runs; `make help` lists it. The test bed obtains everything but Rust itself.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BED := cargo run --quiet --package outrigger-bed --
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
# Collects the names of what had to be skipped, from all test binaries.
export OUTRIGGER_GAPS := $(TARGET)/gaps

# For what is shipped and what is measured: symbols that tell their types, by which link/functions.txt knows them, and no folder of
# Rust's packages, so that the same sources make the same program in any home.
RELEASE_FLAGS := -Csymbol-mangling-version=v0 --remap-path-prefix=$(abspath $(or $(CARGO_HOME),$(HOME)/.cargo))=/cargo
WITH_RELEASE_FLAGS := RUSTFLAGS='$(strip $(RUSTFLAGS) $(RELEASE_FLAGS))'

say = @printf '\n== %s\n' '$(strip $(1))'

# What cargo-fuzz passes for coverage, without a sanitizer: those need a nightly compiler, and our own code has no unsafe block.
FUZZ_FLAGS := --cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares
FUZZ_SECONDS ?= 30
PICTURE ?= $(TARGET)/demo.png
FUZZ_HOST = $(shell rustc -vV | sed -n 's/^host: //p')

.PHONY: help test demo picture image web matrix soak figures functions fuzz rust compiler format lint documentation bed licences suites gaps forget-gaps

help: ## List what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

test: forget-gaps format lint documentation bed licences suites gaps ## Run everything there is: format, lints, documentation, licences, all tests

demo: rust compiler ## Show the product until Ctrl-C, as root on a real node with a desktop in a page; or once with DEMO_ONCE=1
	$(call say,the program)
	@$(WITH_RELEASE_FLAGS) cargo build --release --locked --package outrigger --package outrigger-bed
	@$(TARGET)/release/outrigger-bed demo --outrigger $(TARGET)/release/outrigger \
		--examples examples --crds charts/outrigger/crds $(if $(DEMO_ONCE),--once --picture '$(PICTURE)')

picture: ## Make the README's picture again: what the demo's page shows
	@$(MAKE) --no-print-directory demo DEMO_ONCE=1 PICTURE=docs/desktop.png

image: rust compiler ## Make the images localhost/outrigger, localhost/outrigger-desktop and localhost/pgbouncer as tars, without Docker
	$(call say,the images)
	@$(WITH_RELEASE_FLAGS) cargo build --release --locked --package outrigger --package outrigger-bed
	@$(TARGET)/release/outrigger-bed image --outrigger $(TARGET)/release/outrigger --destination $(TARGET)/outrigger-image.tar
	@$(TARGET)/release/outrigger-bed desktop-image --outrigger $(TARGET)/release/outrigger --destination $(TARGET)/outrigger-desktop-image.tar
	@$(TARGET)/release/outrigger-bed pgbouncer-image --destination $(TARGET)/pgbouncer-image.tar

web: rust compiler ## Fetch what the pages need of others, and put it beside the program
	$(call say,the page)
	@$(BED) web --destination $(TARGET)/release/novnc

matrix: export OUTRIGGER_K8S_VERSION := oldest
matrix: forget-gaps bed ## Run the integration suites on the oldest supported Kubernetes, and those of databases on the newest PostgreSQL
	$(call say,integration suites on the oldest supported Kubernetes)
	@cargo test --workspace --test '*'
	$(call say,databases on the newest supported PostgreSQL)
	@OUTRIGGER_POSTGRES=newer cargo test --test databases
	@$(MAKE) --no-print-directory gaps

soak: export OUTRIGGER_SOAK_REVIEWS ?= 1000000
soak: export OUTRIGGER_CHAOS_SEEDS ?= 20
soak: export OUTRIGGER_KILLS ?= 1
soak: rust compiler ## Send OUTRIGGER_SOAK_REVIEWS (1000000) reviews through restarts, kill PostgreSQL in OUTRIGGER_CHAOS_SEEDS (20) ways, and the program before every message
	$(call say,soak)
	@$(WITH_RELEASE_FLAGS) cargo test --release --test soak -- --nocapture
	@cargo test --test databases -- --nocapture chaos kills

figures: rust compiler ## Measure it beside the usual ways, and write docs/performance.md and docs/desktop-performance.md
	$(call say,figures)
	@$(WITH_RELEASE_FLAGS) cargo bench --bench figures --bench vnc

functions: rust compiler ## Tell the linker anew which functions the program executes while it serves: writes link/functions.txt
	$(call say,functions)
	@# Valgrind knows the functions of one section alone, so the program is linked without the list.
	@$(WITH_RELEASE_FLAGS) OUTRIGGER_LINK_FUNCTIONS=/dev/null cargo rustc --release --locked --package outrigger --bin outrigger -- -Cstrip=none
	@mv $(TARGET)/release/outrigger $(TARGET)/outrigger-with-symbols
	@cargo test --quiet --bench figures -- functions $(TARGET)/outrigger-with-symbols link/functions.txt

fuzz: rust compiler ## Feed the parsers made-up bytes, FUZZ_SECONDS (30) for each target
	$(call say,fuzz targets)
	@command -v c++ > /dev/null || { echo 'A C++ compiler is missing, which libFuzzer needs: sudo apt-get install g++' >&2; exit 1; }
	@RUSTFLAGS='$(FUZZ_FLAGS)' CARGO_TARGET_DIR='$(TARGET)/fuzz' \
		cargo build --quiet --release --manifest-path fuzz/Cargo.toml --target $(FUZZ_HOST)
	@for target in auth_file json manifests review rfb rfb_handshake userlist websocket words x11; do \
		printf '\n== %s, %s s\n' "$$target" '$(FUZZ_SECONDS)'; \
		mkdir -p "fuzz/corpus/$$target" fuzz/artifacts; \
		'$(TARGET)/fuzz/$(FUZZ_HOST)/release/'"$$target" "fuzz/corpus/$$target" "fuzz/seeds/$$target" -max_total_time=$(FUZZ_SECONDS) \
			-timeout=10 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 -artifact_prefix="fuzz/artifacts/$$target-"; \
	done

rust:
	@command -v cargo > /dev/null || { echo 'Rust is missing: install it as https://rustup.rs says, then run make again.' >&2; exit 1; }

# The linker is needed before the test bed can be built that obtains the rest.
compiler:
	@command -v cc > /dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null || { echo 'A C compiler is missing: sudo apt-get install gcc libc6-dev' >&2; exit 1; }; \
		echo 'installing the Debian packages gcc libc6-dev ...'; \
		apt-get install --yes --quiet gcc libc6-dev || { apt-get update --quiet; apt-get install --yes --quiet gcc libc6-dev; }; }

format: rust
	$(call say,format)
	@cargo fmt --all --check

lint: rust compiler
	$(call say,lints)
	@cargo clippy --workspace --all-targets -- -D warnings
	@cargo clippy --locked --manifest-path fuzz/Cargo.toml --target-dir '$(TARGET)' --no-default-features --all-targets -- -D warnings

documentation: rust compiler
	$(call say,documentation)
	@RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --lib

bed: rust compiler
	$(call say,what the tests need)
	@$(BED) obtain

licences: rust compiler
	$(call say,licences and origin of all dependencies)
	@deny="$$($(BED) path cargo-deny)"; \
	"$$deny" check bans licenses sources; \
	if timeout 120 "$$deny" fetch db 2> /dev/null; then "$$deny" check advisories; \
	else echo 'advisories: the database of advisories cannot be fetched from here' | tee -a "$$OUTRIGGER_GAPS"; fi

suites: rust compiler
	$(call say,tests)
	@if grep -qs '^control-plane:' "$$OUTRIGGER_GAPS"; then cargo test --workspace --lib --bins; else cargo test --workspace; fi

forget-gaps:
	@mkdir -p "$$(dirname "$$OUTRIGGER_GAPS")"; rm -f "$$OUTRIGGER_GAPS"

gaps:
	@if [ -s "$$OUTRIGGER_GAPS" ]; then printf '\n== passed, but skipped:\n'; sort -u "$$OUTRIGGER_GAPS"; \
	else printf '\n== passed, nothing skipped\n'; fi
