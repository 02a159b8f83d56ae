"""Where the truth is kept: the ledger's protocol, its LMDB form, and how records are written down."""
