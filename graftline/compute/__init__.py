"""Where and how numbers are computed: device, precision, threads, faster kernels."""
