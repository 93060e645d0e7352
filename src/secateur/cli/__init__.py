"""The command `secateur`: one function a verb."""
