"""Where workers live: the contract, and the engines that keep it. Imports no torch."""
