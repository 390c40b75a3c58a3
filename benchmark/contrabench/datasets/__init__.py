"""The built-in datasets: one file each, in the checkout's `datasets/` or beside this file."""

from contrabench.contracts.discovery import extend_with_checkout

extend_with_checkout(__path__, "datasets")
