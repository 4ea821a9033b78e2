"""The machine that Proctor runs on: its cores, memory and graphics cards, and the home directory of its user."""
