"""The server under load, beside others, and under requests that make no sense."""
