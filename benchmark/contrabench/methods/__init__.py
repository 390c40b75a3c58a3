"""The built-in methods: one file each, in the checkout's `methods/` or beside this file."""

from contrabench.contracts.discovery import extend_with_checkout

extend_with_checkout(__path__, "methods")
