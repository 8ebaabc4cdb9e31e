"""Whether a run would find nothing to do, known before anything is imported that takes its time."""
