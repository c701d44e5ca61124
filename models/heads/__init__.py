"""What makes enlarged frames of any size of features; each a `models.parts.any_scale.Head`."""
