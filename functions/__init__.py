"""What Lambda calls: one package for each function."""

import gc

# Loading makes many objects and hardly any garbage; looking for it all the while is a tenth of a cold start.
gc.set_threshold(50_000)
