"""The interposer against a KVM of the tests' own: each case under each sanitizer.

A case's name, in tests/kvm_qemu/native, is the sentence that it holds.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kvm_qemu.native import SANITIZERS, Case, build_program, cases, run_case


@pytest.fixture(scope="module", params=sorted(SANITIZERS))
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_program(request.param, tmp_path_factory.mktemp("native"))


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_case(program: Path, case: Case, tmp_path: Path) -> None:
    done = run_case(program, case, tmp_path)
    assert done.returncode == (97 if case.words else 0), done.stdout + done.stderr
    assert (case.words or "") in done.stderr
    assert "Sanitizer" not in done.stderr, done.stderr


def test_there_are_cases_of_both_kinds() -> None:
    assert len([case for case in cases() if case.words]) > 15
    assert len([case for case in cases() if not case.words]) > 30
