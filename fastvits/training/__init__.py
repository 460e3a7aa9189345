"""From a folder of recordings to a voice: losses, discriminators, data, batches and the loop."""
