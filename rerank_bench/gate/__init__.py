"""The gate: a finished run against a baseline, judged by thresholds; the verdict is an exit code (docs/gate.md)."""
