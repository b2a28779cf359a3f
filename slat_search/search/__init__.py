"""Ray Tune: trials, the space they sample, stopping, and the log that a run resumes from."""
