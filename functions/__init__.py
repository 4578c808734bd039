"""What Lambda calls: one package for each function."""

import gc
import warnings

# Loading makes many objects and hardly any garbage; looking for it all the while is a tenth of a cold start.
gc.set_threshold(1_000_000)

# Left out of the artifact: `requests` would guess encodings with it, and says at every start that it cannot.
warnings.filterwarnings("ignore", message="Unable to find acceptable character detection dependency")


def loaded() -> None:
    """Every handler calls this when all is loaded: from then on garbage is looked for, but not in what was loaded."""
    gc.freeze()
    gc.set_threshold(50_000)
