"""The gate: checks of a candidate, the evidence for them, and skill probes. A candidate that fails is not served."""
