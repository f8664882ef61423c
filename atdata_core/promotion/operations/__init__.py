"""What keeps promotions going: due, attempts, blocks, and what a person asks for."""
