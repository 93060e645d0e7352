"""The torch side: weights under transformation, and the way between a torch module and an Artifact."""
