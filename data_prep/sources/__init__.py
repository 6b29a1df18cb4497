"""Where recordings lie, and what is said of them there: folders, manifests, simulations."""
