"""What a GPU computes, how often equally, and how fast, beside Trainer: `python -m scripts.gpu_check`."""
