"""The built-in datasets: one file each, in the checkout's `datasets/` or beside this file."""

from contrabench.content import extend_with_checkout

extend_with_checkout(__path__, "datasets")
