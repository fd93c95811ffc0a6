"""What computes: the device, freed memory, dense products, several processes."""
