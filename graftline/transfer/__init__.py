"""Transfer: what stored features tell before and beside a training."""
