"""Programs as native code: `abi` is the contract, `lower` writes LLVM IR, `link` places objects, `engine` runs."""
