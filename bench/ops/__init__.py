"""The ops one by one: how fast they are, how far from float64, and how near to what the device can do."""
