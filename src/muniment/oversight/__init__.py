"""What should worry us: what was done under a grant, what is odd, and who looked. Pure."""
