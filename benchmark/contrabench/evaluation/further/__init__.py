"""The built-in metrics that are told on request beside those of the contract, one file each."""
