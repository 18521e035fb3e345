# make demo   set-up, then Linux boots on unpatched QEMU and a vCPU is plugged, logged, replayed
# make test   set-up, then all tests, ruff and mypy
# make test-long  and the tests that are left out of it because they take long
# make mutation  set-up, then the program is changed a little, many times: do the tests notice?
# make mutation-protocol  set-up, then the protocol is changed: does hpcore check notice?
# make nested set-up, then the KVM tests alone, in a nested Linux with a /dev/kvm of its own
# make kvm-host  set-up, then the KVM tests on this machine's own KVM: for an arm64 host
# make nested-more  what of kvm-qemu takes long: all scenarios, QEMU 10, UEFI, libvirt, no VHE
# make wheels  the packages, in dist/; hpcore-kvm's brings the interposer for arm64 with it
# make bench-long  two simulated years of a log, and thirty minutes of a hostile guest
# make nested-long  500 rounds and 1,000 random moments in an unpatched QEMU on that KVM: hours
# make attach-long  200 kill -9 of hpcore at random moments, each machine taken up again: 12 minutes
# make moving-live  a VM that runs while it goes to another: HPCORE_QEMU names a QEMU from 9.0 on
.PHONY: demo test test-long mutation mutation-protocol nested nested-more kvm-host nested-long \
	attach-long moving-live setup check bench bench-long wheels docs clean

BIN := .venv/bin
MUTATION ?= --seed 1 --sample 400
PROTOCOL ?= --seed 1 --sample 100
DEMO_LOG := build/cover-letter.jsonl

demo:
	@scripts/setup.sh
	@mkdir -p build
	$(BIN)/hpcore accel
	$(BIN)/hpcore run cover-letter --accel tcg --log $(DEMO_LOG) --force
	$(BIN)/hpcore replay $(DEMO_LOG)

test:
	@scripts/setup.sh --tests
	@$(MAKE) --no-print-directory check
	$(BIN)/python -m tests

test-long:
	@scripts/setup.sh --tests
	$(BIN)/python -m pytest -m long

mutation:
	@scripts/setup.sh --tests
	$(BIN)/python -m tests.mutation $(MUTATION)

mutation-protocol:
	@scripts/setup.sh --tests
	$(BIN)/python -m tests.mutation.protocol $(PROTOCOL)

nested:
	@scripts/setup.sh --tests
	$(BIN)/python -m pytest tests/nested

nested-more:
	@scripts/setup.sh --tests
	$(BIN)/python -m pytest tests/nested/other_hosts.py

kvm-host:
	@scripts/setup.sh --tests
	CI=true $(BIN)/python -m pytest tests/kvm tests/kvm_with_qemu

nested-long:
	@scripts/setup.sh --tests
	$(BIN)/python -m bench.kvm_qemu --moments 1000
	$(BIN)/python -m tests.nested --qemu 7.2 --seconds 20000 -- \
		python3 -m bench.hotplug --accel kvm-qemu --rounds 500

attach-long:
	@scripts/setup.sh --tests
	$(BIN)/python -m tests.tcg.kills --kills 200 --seed 1

moving-live:
	$(BIN)/python -m pytest tests/door/live.py tests/door/test_moving.py tests/libvirt/test_moving.py

check:
	$(BIN)/ruff check .
	$(BIN)/mypy

setup:
	@scripts/setup.sh

wheels:
	@scripts/setup.sh
	@scripts/wheels.sh

docs:
	$(BIN)/python -m hpcore.model.page > docs/model.md

bench-long:
	$(BIN)/python -m bench.months
	$(BIN)/python -m bench.noise

bench:
	$(BIN)/python -m bench.log
	$(BIN)/python -m bench.hotplug
	$(BIN)/python -m bench.door
	$(BIN)/python -m bench.qtest
	$(BIN)/python -m bench.kvm

clean:
	rm -rf build .venv .mypy_cache .ruff_cache .pytest_cache
