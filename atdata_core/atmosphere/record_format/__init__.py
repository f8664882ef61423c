"""Records of the network: built, parsed, and held to their lexicons."""
