"""What a training loop needs: the wish (Target) and the pressure that fulfils it (Budget)."""
