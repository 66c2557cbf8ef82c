"""How a kernel runs on a target: one operator family a file, cpu/ and cuda/."""
