"""First contact: what this machine has, a study file for a user's own data, and the shell's tab."""
