# `make help` lists what there is. The work is done by scripts/, so that each step can be read and
# run alone.

.DEFAULT_GOAL := help
.PHONY: help run run-cluster build test test-long bench figures soak profile lint fuzz city clean-demo

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

run: ## build what is missing, start Waylog with a simulated fleet, print where to look (LAN=1: for phones)
	@LAN=$(LAN) scripts/run.sh

run-cluster: ## the same as many machines would: Kafka, a role a process, on this one
	@scripts/cluster.sh

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

figures: ## all figures and plots of loadtest/README.md, measured anew (two hours; ONLY=name,name for some)
	@scripts/setup.sh run
	@cargo build --release --quiet -p waylog -p loadtest
	@target/release/loadtest figures $(if $(ONLY),--only $(ONLY))

soak: ## an hour of kills, restarts and bad input, and the ledger (SHORT=1: ten minutes)
	@scripts/setup.sh run
	@cargo build --release --quiet -p waylog -p loadtest
	@target/release/loadtest soak $(if $(SHORT),--short)

profile: ## where the server's time goes under load, by perf or samply
	@scripts/setup.sh run
	@scripts/profile.sh

fuzz: ## every fuzz target for 60 s (wants cargo-fuzz)
	@scripts/fuzz.sh

city: ## tiles and road graph of your own city: make city PBF=file.osm.pbf
	@scripts/city.sh "$(PBF)"

clean-demo: ## forget the demo: stops nothing, deletes var/
	@rm -rf var && echo "var/ is gone; the next make run starts afresh"
