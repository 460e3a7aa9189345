"""Which implementation an op takes, and what all of them ask: devices, precision, packed weights, shapes, masks."""
