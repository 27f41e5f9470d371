"""A model in files that other programmes can serve."""

ALWAYS = "safetensors"
"""The format that is always written: the weights as the model's own folder has them."""
PROGRAMMES = ("torch", "onnx")
"""The others, which compute by themselves."""
