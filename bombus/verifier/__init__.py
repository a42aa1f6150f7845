"""The verifier: what a kernel says of a program, without the kernel."""
