#!/bin/sh
# The wheels of hpcore and its accelerators, in dist/. That of hpcore-kvm brings the interposer for
# arm64 with it, so that a host needs no compiler for it. Wants what scripts/setup.sh sets up.
set -eu
cd "$(dirname "$0")/.."
beside=$(.venv/bin/python - <<'PYTHON'
import shutil
from hpcore_kvm_qemu import build

built, beside = build.ensure_interposer(), build.prebuilt()
if built != beside:
    shutil.copyfile(built, beside)
print(beside)
PYTHON
)
trap 'rm -f "$beside"' EXIT
mkdir -p dist
"$(.venv/bin/python -c 'import sys; print(sys.base_prefix)')/bin/python3" -m pip wheel -q --no-deps \
    -w dist . backends/tcg backends/kvm backends/qtest
ls -l dist/*.whl
