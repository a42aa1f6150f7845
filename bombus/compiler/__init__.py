"""Typed Python to BPF: checking, lowering to LLVM IR, code generation in a child process."""
