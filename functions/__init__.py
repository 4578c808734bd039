"""Lambda handlers: one package for each function."""

import gc
import os
import warnings

# Imports make many objects and hardly any garbage; collecting at the default threshold takes a tenth of a cold start.
gc.set_threshold(1_000_000)

# Otherwise pydantic looks through the metadata of every package for plugins, of which there are none.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

# The artifact leaves out the package with which `requests` guesses encodings; `requests` warns of that at every start.
warnings.filterwarnings("ignore", message="Unable to find acceptable character detection dependency")


def loaded() -> None:
    """Collect garbage from now on, but not among what was loaded. Every handler module calls this last."""
    gc.freeze()
    gc.set_threshold(50_000)
