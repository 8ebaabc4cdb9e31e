"""What held-out rows say: scores, intervals, paired tests."""
