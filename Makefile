# `make help` lists what there is. The work is done by scripts/, so that each step can be read and
# run alone.

.DEFAULT_GOAL := help
.PHONY: help run build test test-long bench lint fuzz city clean-demo

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

run: ## build what is missing, start Waylog with a simulated fleet, print where to look (LAN=1: for phones)
	@LAN=$(LAN) scripts/run.sh

build: ## web pages and target/release/waylog; nothing is started
	@scripts/setup.sh build
	@scripts/build.sh

test: ## formatting, lints, all tests, with a private Postgres and a real browser
	@scripts/setup.sh test
	@scripts/test.sh

test-long: ## the long forms: 50,000 crash histories, 100 kills
	@scripts/setup.sh test
	@WAYLOG_TEST_LONG=1 scripts/test.sh

lint: ## formatting, clippy, cargo-deny where it is installed, the web's type check
	@scripts/setup.sh build
	@scripts/lint.sh

bench: ## the log's and the hot paths' benchmarks, release build
	@scripts/setup.sh build
	@scripts/bench.sh

fuzz: ## every fuzz target for 60 s (wants cargo-fuzz)
	@scripts/fuzz.sh

city: ## tiles and road graph of your own city: make city PBF=file.osm.pbf
	@scripts/city.sh "$(PBF)"

clean-demo: ## forget the demo: stops nothing, deletes var/
	@rm -rf var && echo "var/ is gone; the next make run starts afresh"
