"""The pure core: decisions and folds over accounts, with time and ids as arguments."""
