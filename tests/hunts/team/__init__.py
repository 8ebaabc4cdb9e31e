"""A team's servers under faults: everything that two machines do is killed at random moments, and must cost nothing."""
