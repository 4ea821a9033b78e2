"""What this machine has, and what follows from it."""
