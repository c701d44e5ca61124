"""From a clip to what degraded it: what is read from its stream, what is estimated from its frames, and what cannot be told."""

from __future__ import annotations

from pipelines.diagnosis.diagnose import Diagnosis, diagnose
from pipelines.diagnosis.estimate import Estimate, Unknown

__all__ = ["Diagnosis", "Estimate", "Unknown", "diagnose"]
