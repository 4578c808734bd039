# Commands for developers and operators. Each target sets up what it needs.

# A version manager's shim may exist without its Python, so each candidate has to run.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
VERSION := $(shell $(PYTHON) -c 'import sys; v = sys.version_info; print("%d.%d" % v[:2] if v >= (3, 11) else "")' 2>/dev/null)
ifeq ($(VERSION),)
$(error $(if $(PYTHON),PYTHON=$(PYTHON) is not a working Python 3.11 or newer,No Python 3.11 or newer was found): install one, or name it with PYTHON=/path/to/python)
endif
VENV := .venv/$(VERSION)
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOCAL := $(VENV)/.local

# A switch is 1, 0 or empty. Switches that could lose data have to be typed; variables of the shell do not count.
on = $(if $(filter-out 0 1,$($1)),$(error $1=$($1) is neither 1 nor 0),$(filter 1,$($1)))
typed = $(if $(findstring command,$(origin $1)),$(call on,$1))
# A value, quoted for the shell.
said = '$(subst ','\'',$(value $1))'
# NAME=value if it was typed, else nothing, because shells have variables with such names (SECONDS).
given = $(if $(findstring command,$(origin $1)),$1=$(call said,$1))

# The variables of each command. A misspelt one is an error: DRY_RUN=1 for DRY=1 must not detach a disk.
SETTINGS := CONFIRM_TIMEOUT WATCH_TIMEOUT REQUEST_TTL REQUEST_TTL_LIMIT FENCE_SKEW RUNNING_SERVER_POLICY SERVER_KIND \
	EVENT_SOURCE EVENT_TYPE_PREFIX WEBHOOK_ALLOWED_ORIGINS ALLOWED_REQUESTERS SINK_URL SINK_SECRET SINK_MODE DELIVERY_TTL \
	DETACH_API BMS_ENDPOINT COMPUTE_ENDPOINT VOLUME_ENDPOINT
TAKES_run := EVENT SCENARIO CLOUD JSON $(SETTINGS)
TAKES_servers := CLOUD NAME JSON $(SETTINGS)
TAKES_detach := SERVER VOLUME CLOUD STACK WAIT DRY YES UNMOUNTED SYSTEM_DISK JSON $(SETTINGS)
TAKES_status := REQUEST STACK VOLUME SINCE JSON
TAKES_doctor := CLOUD STACK SERVER VOLUME JSON $(SETTINGS)
TAKES_costs := DETACHES SECONDS CLOUD_MS AWS_MS BATCH MEMORY COLD INIT_MS CANARY WEBHOOK KEYS ENDPOINTS NATS PRICES DETAILS JSON
TAKES_pause := STACK YES
TAKES_resume := STACK YES
TAKES_drain := STACK WAIT
TAKES_rollback := STACK TO YES
TAKES_remove := STACK ALSO LOSE_REQUESTS WAIT YES
TAKES_schemas := STACK REMOVE
TAKES_serve := PORT CLOUD JSON $(SETTINGS)
TAKES_send := EVENT URL SECRET
TAKES_redrive := STACK QUEUE DLQ DRY YES JSON
TAKES_prove := ONLY API ACCESS EVERY
TAKES_million := REQUESTS
TAKES_mutants := ONLY
TAKES_soak := REQUESTS $(SETTINGS)
TAKES_build := PLATFORM BYTECODE
TAKES_package := TAG BYTECODE
TAKES_deploy := CONFIG PARAMETERS TAGS PLATFORM BYTECODE
TAKES_deploy-rehearsal := CONFIG PARAMETERS PLATFORM BYTECODE
TAKES_bench := QUICK
TYPED := $(foreach v,$(.VARIABLES),$(if $(findstring command,$(origin $v)),$v))
TAKEN := $(foreach goal,$(MAKECMDGOALS),$(TAKES_$(goal)))
UNKNOWN := $(if $(TAKEN),$(filter-out $(TAKEN) PYTHON LAMBDA_PYTHON ARGS OS_% AWS_%,$(TYPED)))
ifneq ($(strip $(UNKNOWN)),)
$(error make $(firstword $(MAKECMDGOALS)) does not take $(firstword $(UNKNOWN)). It takes $(filter-out $(SETTINGS),$(TAKEN)))
endif

.DEFAULT_GOAL := help
.PHONY: help setup run detach status pause resume drain rollback remove schemas package servers doctor costs parameters permissions telemetry serve send redrive prove soak million model mutants test slices check lint types imports template artifact build deploy deploy-rehearsal validate bench format lock docs clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1mmake %-10s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST) \
	| if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9;]*m//g'; fi
	@echo
	@echo "  make run EVENT=file.json [CLOUD=env] [JSON=1]   your own event; CLOUD=env: your cloud, from OS_… or clouds.yaml"
	@echo "  make run SCENARIO=list|<name>|all               play scenarios: what can happen to a detach in a cloud"
	@echo "  make detach UNMOUNTED=1 [SYSTEM_DISK=1]         you attest that the disk is not mounted; allow the system disk"
	@echo "  JSON=1                                          run, detach, servers, status, doctor, costs, redrive: print JSON only"
	@echo "  make test PYTHON=python3.13                     another Python (>= 3.11)"

setup: $(READY) ## Create the virtual environment from the lock file

# Modules are compiled when they are first imported.
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes
MAKE_VENV = $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	echo "$(PYTHON) has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv)." >&2; exit 2; }; \
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)

$(LOCAL): requirements-local.lock
	@echo "Setting up $(VENV): the product and AWS on this machine (once, half a minute) ..." >&2
	@$(MAKE_VENV)
	@$(INSTALL) -r requirements-local.lock
	@touch $@

$(READY): requirements-dev.lock
	@echo "Setting up $(VENV) for development from requirements-dev.lock (once, a minute) ..." >&2
	@$(MAKE_VENV)
	@$(INSTALL) -r requirements-dev.lock
	@touch $(LOCAL) $@

run: $(LOCAL) ## Run the sample events through the local stack: queue, function, cloud, event bus
	@$(BIN)/python -m local run $(if $(EVENT),--event $(call said,EVENT)) $(if $(SCENARIO),--scenario $(call said,SCENARIO)) $(if $(CLOUD),--cloud $(call said,CLOUD)) $(if $(call on,JSON),--json)

servers: $(LOCAL) ## List servers and their disks, and what would be refused [CLOUD=env] [NAME=part]
	@$(BIN)/python -m local servers $(if $(findstring command,$(origin NAME)),--name $(call said,NAME)) $(if $(CLOUD),--cloud $(call said,CLOUD)) $(if $(call on,JSON),--json)

detach: $(LOCAL) ## Detach one volume: SERVER= VOLUME= (ids or names) [CLOUD=env] [STACK=name] [DRY=1] [YES=1] [WAIT=10m]
	@$(BIN)/python -m tools detach --server $(if $(SERVER),$(call said,SERVER),$(error SERVER is missing: the id or name of the server)) \
		--volume $(if $(VOLUME),$(call said,VOLUME),$(error VOLUME is missing: the id, name or device of the disk)) \
		$(if $(CLOUD),--cloud $(call said,CLOUD)) $(if $(STACK),--stack $(call said,STACK)) $(if $(WAIT),--wait $(call said,WAIT)) \
		$(if $(call on,DRY),--dry) $(if $(call typed,YES),--yes) \
		$(if $(call typed,UNMOUNTED),--unmounted) $(if $(call typed,SYSTEM_DISK),--allow-system-disk) \
		$(if $(call on,JSON),--json)

status: $(LOCAL) ## Show the history of a request, look by look: REQUEST=id [STACK=name] [VOLUME=] [SINCE=24h]
	@$(BIN)/python -m tools status --request $(if $(REQUEST),$(call said,REQUEST),$(error REQUEST is missing: the id of the request)) \
		$(if $(STACK),--stack $(call said,STACK)) $(if $(VOLUME),--volume $(call said,VOLUME)) $(if $(SINCE),--since $(call said,SINCE)) $(if $(call on,JSON),--json)

doctor: $(LOCAL) ## Check what a cloud lacks for a detach [CLOUD=env], or a deployed stack: STACK=name [SERVER= VOLUME=]
	@$(BIN)/python -m tools.doctor $(if $(CLOUD),--cloud $(call said,CLOUD)) $(if $(call on,JSON),--json) \
		$(if $(STACK),--stack $(call said,STACK) $(if $(SERVER),--server $(call said,SERVER)) $(if $(VOLUME),--volume $(call said,VOLUME)))

costs: $(LOCAL) ## What it costs a month, with your numbers: [DETACHES=1000] [SECONDS=30] [CLOUD_MS=300] [DETAILS=1: all tables, formula, prices]
	@$(BIN)/python -m tools.costs $(call given,DETACHES) $(call given,SECONDS) $(call given,CLOUD_MS) $(call given,AWS_MS) \
		$(call given,BATCH) $(call given,MEMORY) $(call given,COLD) $(call given,INIT_MS) $(call given,CANARY) $(call given,WEBHOOK) \
		$(call given,KEYS) $(call given,ENDPOINTS) $(call given,NATS) $(call given,PRICES) $(if $(call on,DETAILS),--details) $(if $(call on,JSON),--json)

parameters permissions telemetry: $(LOCAL)
	@$(BIN)/python -m tools.reference $@

parameters: ## Print each parameter of the stack, with its default and description

permissions: ## Print the IAM actions that each command on a deployed stack needs

telemetry: ## Print each log message and metric of the functions, with its meaning

pause resume: $(LOCAL)
	@$(BIN)/python -m tools $@ --stack $(if $(STACK),$(call said,STACK),$(error STACK is missing: the name of the deployed stack)) $(if $(call typed,YES),--yes)

pause: ## Stop the delivery of requests to the function of a deployed stack: STACK=name [YES=1]

resume: ## Resume the delivery of requests: STACK=name [YES=1]

drain: $(LOCAL) ## Wait until no request of a deployed stack is left: STACK=name [WAIT=7h]
	@$(BIN)/python -m tools drain --stack $(if $(STACK),$(call said,STACK),$(error STACK is missing: the name of the deployed stack)) $(if $(WAIT),--wait $(call said,WAIT))

rollback: $(LOCAL) ## Return the functions of a deployed stack to an earlier version: STACK=name [TO=version] [YES=1]
	@$(BIN)/python -m tools rollback --stack $(if $(STACK),$(call said,STACK),$(error STACK is missing: the name of the deployed stack)) $(if $(TO),--to $(call said,TO)) $(if $(call typed,YES),--yes)

remove: $(LOCAL) ## Delete a deployed stack, and list what remains: STACK=name [ALSO=logs] [LOSE_REQUESTS=1] [YES=1]
	@$(BIN)/python -m tools remove --stack $(if $(STACK),$(call said,STACK),$(error STACK is missing: the name of the deployed stack)) $(if $(ALSO),--also $(call said,ALSO)) \
		$(if $(call typed,LOSE_REQUESTS),--lose-requests) $(if $(WAIT),--wait $(call said,WAIT)) $(if $(call typed,YES),--yes)

schemas: $(LOCAL) ## Publish the event schemas in the schema registry of a deployed stack: STACK=name [REMOVE=1]
	@$(BIN)/python -m tools schemas --stack $(if $(STACK),$(call said,STACK),$(error STACK is missing: the name of the deployed stack)) $(if $(call typed,REMOVE),--remove)

serve: $(LOCAL) ## Keep the local stack running: webhook endpoint and its page on http://127.0.0.1:8080/ (PORT= another)
	@$(BIN)/python -m local serve $(if $(PORT),--port $(call said,PORT)) $(if $(CLOUD),--cloud $(call said,CLOUD)) $(if $(call on,JSON),--json)

send: $(LOCAL) ## Sign an event and post it to a webhook endpoint: EVENT=file.json [URL=] [SECRET=]
	@$(BIN)/python -m local send --event $(if $(EVENT),$(call said,EVENT),$(error EVENT=file.json is missing, such as events/detach_cloudevent.json)) $(if $(URL),--url $(call said,URL)) $(if $(SECRET),--secret $(call said,SECRET)) || { s=$$?; [ $$s -eq 3 ] || exit $$s; }  # 3: accepted, the verdict follows

redrive: $(LOCAL) ## Show dead letters, and send safe ones back: STACK=name, or QUEUE=url DLQ=url [DRY=1] [YES=1]
	@$(BIN)/python -m tools.redrive $(if $(STACK),--stack $(call said,STACK)) $(if $(QUEUE),--queue $(call said,QUEUE)) $(if $(DLQ),--dlq $(call said,DLQ)) $(if $(call on,DRY),--dry) $(if $(call typed,YES),--yes) $(if $(call on,JSON),--json)

# pytest prints nothing until everything is collected.
test: $(READY) ## Run the tests, five minutes; `make check` runs slices of the proofs too
	@echo "Running the tests on all cores, about five minutes on two ..." >&2
	@$(BIN)/python -m pytest -n auto --dist worksteal -rs -m "not artifact and not slice" $(ARGS)

slices: $(READY) .venv/checkov/.ready ## Run slices of the long proofs: simulations, the model, outages, alarms, hostile input
	@echo "Running slices of the proofs on all cores, some minutes ..." >&2
	@$(BIN)/python -m pytest -n auto --dist worksteal -m slice $(ARGS)

prove: $(READY) ## Run the long proofs: crashes, faults, rough worlds, hostile input (an hour) [ONLY=rough] [API=bms_v1] [ACCESS=key: another login] [EVERY=20: every 20th case]
	@$(if $(API),PROOF_API=$(call said,API)) $(call given,ACCESS) $(call given,EVERY) $(BIN)/python -m tests.simulation.prove $(ONLY)

million: $(READY) ## Send very many requests to one process in virtual time, and show what grows [REQUESTS=] (hours)
	@$(BIN)/python -m tests.simulation.million --requests $(or $(REQUESTS),1000000)

model: $(READY) ## Explore the model of the rules up to the larger bounds, and compare the product with it (minutes)
	@$(BIN)/python -m tests.model

mutants: $(READY) ## Mutate decision, inbox, outbox and visit, and list the mutants that no test finds [ONLY=name*] (an hour)
	@$(BIN)/python -m mutmut run $(if $(ONLY),"$(ONLY)") >&2
	@$(BIN)/python -m tests.mutation.survivors

soak: $(READY) ## 10,000 requests through the local stack with faults and duplicates [REQUESTS=]
	@$(BIN)/python -m tools.soak --requests $(or $(REQUESTS),10000)

check: $(READY) ## Run everything that CI runs, 18 minutes
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint types imports validate
	@$(MAKE) --no-print-directory artifact test slices

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(READY)
	@$(BIN)/mypy

imports: $(READY)
	@PYTHONPATH=. $(BIN)/lint-imports --no-logo 2>/dev/null || PYTHONPATH=. $(BIN)/lint-imports

template: $(READY)
	@$(BIN)/cfn-lint template.yaml && echo "template.yaml: no findings of cfn-lint"

validate: template .venv/sam/.ready .venv/checkov/.ready ## Lint what each switch deploys in each partition, offline [FULL=1: all]
	@SAM_CLI_TELEMETRY=0 .venv/sam/bin/sam validate --lint
	@$(BIN)/python -m tools.validation $(if $(call on,FULL),--full)

# Tools with conflicting pins, each in its own environment.
.venv/sam/.ready: benchmarks/sam.lock
.venv/checkov/.ready: requirements-checkov.lock
.venv/sam/.ready .venv/checkov/.ready: | $(READY)
	@echo "Setting up $(@D) from $< (once, about a minute) ..." >&2
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D)
	@$(BIN)/uv pip install --quiet --python $(@D)/bin/python --require-hashes -r $<
	@touch $@

build: $(READY) ## Build the artifact of all functions, build/bms-volume-detach.zip [PLATFORM=host] [BYTECODE=0]
	@$(BIN)/python -m tools.artifact $(if $(PLATFORM),--platform $(call said,PLATFORM)) $(if $(filter 0,$(BYTECODE)),--no-bytecode)

build-DetachVolumeFunction build-ReceiveWebhookFunction build-ReportDeadLetterFunction build-RunCanaryFunction: $(READY) # `sam build` calls these
	@$(BIN)/python -m tools.artifact --into $(if $(ARTIFACTS_DIR),$(call said,ARTIFACTS_DIR),$(error ARTIFACTS_DIR is missing: this target is for sam build)) $(if $(filter 0,$(BYTECODE)),--no-bytecode)

# `sam build` always uses samconfig.toml, because building belongs to the release. An empty CONFIG, such as an unset
# variable, is an error, because it would deploy with the defaults.
OWN_CONFIG = $(if $(filter-out undefined,$(origin CONFIG)),--config-file '$(abspath $(or $(CONFIG),$(error CONFIG names no file)))')

package: $(READY) ## Write the files of a release to build/package: artifact, SBOM, checksums, notes [TAG=v1.2.3]
	@$(BIN)/python -m tools.package $(if $(TAG),--tag $(call said,TAG))

deploy: build .venv/sam/.ready ## Deploy to the AWS account of your environment [CONFIG=own.toml] [PARAMETERS="…"] [TAGS="…"]
	@echo "Deploying with $(or $(CONFIG),samconfig.toml): this creates a stack, buckets and roles in your account." >&2
	@echo "It first shows the changes and asks. Next steps: docs/operations.md" >&2
	@SAM_CLI_TELEMETRY=0 .venv/sam/bin/sam build
	@$(BIN)/python -m tools.release --config '$(abspath $(or $(CONFIG),samconfig.toml))' -- $(if $(PARAMETERS),$(call said,PARAMETERS))
	@SAM_CLI_TELEMETRY=0 .venv/sam/bin/sam deploy $(OWN_CONFIG) $(if $(PARAMETERS),--parameter-overrides $(call said,PARAMETERS)) $(if $(TAGS),--tags $(TAGS))

deploy-rehearsal: build .venv/sam/.ready ## Rehearse a deployment, up to its change set, without an account [CONFIG=] [PARAMETERS=]
	@$(BIN)/python -m tools.rehearsal $(if $(CONFIG),--config $(call said,CONFIG)) $(if $(PARAMETERS),--parameters $(call said,PARAMETERS))

# Two processes: one test waits most of a minute for Lambda's clock.
artifact: $(READY) .venv/sam/.ready ## Build the artifact for Lambda and for this machine, test it
	@$(BIN)/python -m pytest -m artifact -n 2 --dist worksteal -rs tests/artifact $(ARGS)

bench: $(READY) $(if $(filter 1,$(QUICK)),,.venv/sam/.ready) ## Measure against a conventional handler, ten minutes [QUICK=1: one]
	@$(BIN)/python -m benchmarks $(if $(filter 1,$(QUICK)),--quick)

format: $(READY) ## Format the code and fix what can be fixed
	@$(BIN)/ruff check --fix -q . || true
	@$(BIN)/ruff format .

docs: $(READY) ## Write the documents that are generated from the code
	@$(BIN)/python -m tools.documents

lock: $(READY) ## Update the lock files from pyproject.toml
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --upgrade --python-version 3.11 \
		pyproject.toml -o requirements.lock
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --upgrade --python-version 3.11 \
		pyproject.toml --group dev -c requirements.lock -o requirements-dev.lock
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --upgrade --python-version 3.11 \
		pyproject.toml --group local -c requirements-dev.lock -o requirements-local.lock
	@for group in conventional conventional-webhook runtime sam; do \
		$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --upgrade --python-version 3.11 \
			--group pyproject.toml:$$group $$([ $${group%%-*} = conventional ] && echo -c requirements-dev.lock) \
			-o benchmarks/$$group.lock; done
	@$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --upgrade --python-version 3.11 \
		--group pyproject.toml:checkov -o requirements-checkov.lock

clean: ## Remove everything that can be created again
	rm -rf .venv build mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis
