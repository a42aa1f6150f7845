"""Bodies that native programs call, written in the dialect."""
