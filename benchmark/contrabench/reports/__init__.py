"""The built-in reports: one file each, in the checkout's `reports/` or beside this file."""

from contrabench.contracts.discovery import extend_with_checkout

extend_with_checkout(__path__, "reports")
