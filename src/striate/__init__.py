"""striate: convolutional networks on the CPU you have."""
