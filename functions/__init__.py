"""What Lambda calls: one package for each function."""

import gc
import warnings

# Loading makes many objects and hardly any garbage; looking for it all the while is a tenth of a cold start.
gc.set_threshold(50_000)

# Left out of the artifact: `requests` would guess encodings with it, and says at every start that it cannot.
warnings.filterwarnings("ignore", message="Unable to find acceptable character detection dependency")
