"""Models for ``--model``: an encoder, a loss and a property yaml each."""
