"""One op a file: contract, reference, kernel, launch, registration."""
