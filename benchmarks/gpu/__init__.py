"""What `python -m benchmarks.gpu_report` is made of: a file for each step, its parts and its page."""
