"""How much of the long proofs a run takes: CI a slice, `make prove` everything."""

from __future__ import annotations

import os

STEP = int(os.environ.get("PROOF_STEP", "11"))
"""Every STEP-th case of the long enumerations; 1 takes them all."""
