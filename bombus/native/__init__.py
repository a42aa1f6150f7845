"""BPF programs as machine code for other programs and other machines: relocatable objects and static executables."""
